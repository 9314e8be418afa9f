const connect = require('connect')
const semver = require('semver')

const app = connect()
app.use('/version', (request, response) => response.end(semver.coerce(process.version).major + '\n'))
app.use((request, response) => response.end(`hello ${process.getuid()} ${process.env.NODE_ENV}\n`))
app.listen(3000, () => console.log('listening on 3000'))
process.on('SIGTERM', () => process.exit(0))
