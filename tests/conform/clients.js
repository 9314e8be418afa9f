// npm's dockerode and testcontainers against the engine: `ok NAME`, `not ok NAME: WHY`.
// usage: node clients.js NODE_MODULES       (DOCKER_HOST is set)
const path = require('path');
const modules = process.argv[2];
const Docker = require(path.join(modules, 'dockerode'));
const docker = new Docker({ socketPath: '/run/nacelle/nacelle.sock' });
const fs = require('fs');
const os = require('os');
const { PassThrough } = require('stream');
let failures = 0;

async function test(name, work) {
  try {
    await work();
    console.log(`ok ${name}`);
  } catch (error) {
    failures++;
    console.log(`not ok ${name}: ${String(error && error.stack || error).replace(/\n/g, ' | ').slice(0, 600)}`);
  }
}
function same(got, wanted) {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) throw new Error(`${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
}
const text = (stream) => new Promise((resolve, reject) => {
  let all = '';
  stream.on('data', (piece) => { all += piece; });
  stream.on('end', () => resolve(all));
  stream.on('error', reject);
});

(async () => {
  await test('dockerode_info', async () => same((await docker.info()).OSType, 'linux'));
  await test('dockerode_run', async () => {
    const out = new PassThrough();
    const err = new PassThrough();
    const said = text(out);
    const complained = text(err);
    const [data, container] = await docker.run('busybox', ['sh', '-c', 'echo out; echo err >&2; exit 3'], [out, err], { Tty: false });
    // Its output comes by another connection, whose end is theirs.
    same(data.StatusCode, 3);
    same(await said, 'out\n');
    same(await complained, 'err\n');
    await container.remove();
  });
  await test('dockerode_build', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'build-'));
    fs.writeFileSync(path.join(directory, 'Dockerfile'), 'FROM busybox\nCOPY file /file\nCMD cat /file\n');
    fs.writeFileSync(path.join(directory, 'file'), 'built');
    const stream = await docker.buildImage({ context: directory, src: ['Dockerfile', 'file'] }, { t: 'js:built' });
    const lines = await new Promise((resolve, reject) => docker.modem.followProgress(stream, (error, all) => (error ? reject(error) : resolve(all))));
    same(lines.some((line) => (line.stream || '').includes('Successfully tagged js:built')), true);
    await docker.getImage('js:built').remove();
  });
  await test('dockerode_exec_with_input', async () => {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['sleep', '100'], name: 'js' });
    await container.start();
    const exec = await container.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
    const stream = await exec.start({ hijack: true, stdin: true });
    const out = new PassThrough();
    docker.modem.demuxStream(stream, out, out);
    stream.on('end', () => out.end());
    stream.write('typed\n');
    stream.end();
    same(await text(out), 'typed\n');
    same((await exec.inspect()).ExitCode, 0);
    await container.stop({ t: 0 });
    await container.remove();
  });
  await test('dockerode_errors', async () => {
    try {
      await docker.getContainer('none').inspect();
    } catch (error) {
      same(error.statusCode, 404);
      return;
    }
    throw new Error('no error');
  });
  await test('dockerode_logs_follow', async () => {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['sh', '-c', 'echo a; sleep 0.2; echo b'], Tty: true });
    await container.start();
    same(await text(await container.logs({ follow: true, stdout: true, stderr: true })), 'a\r\nb\r\n');
    await container.remove();
  });
  await test('dockerode_networks_and_volumes', async () => {
    const network = await docker.createNetwork({ Name: 'jsnet' });
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['sleep', '9'] });
    await network.connect({ Container: container.id });
    await container.start();
    same(Object.keys((await container.inspect()).NetworkSettings.Networks).sort(), ['bridge', 'jsnet']);
    await container.stop({ t: 0 });
    await network.disconnect({ Container: container.id });
    await container.remove({ force: true });
    await network.remove();
    await docker.createVolume({ Name: 'jsvol' });
    await docker.getVolume('jsvol').remove();
  });

  process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';
  process.env.DOCKER_HOST = 'unix:///run/nacelle/nacelle.sock';
  const { GenericContainer, Wait } = require(path.join(modules, 'testcontainers'));
  await test('testcontainers_start_exec_stop', async () => {
    const started = await new GenericContainer('busybox:latest')
      .withCommand(['sh', '-c', 'echo ready to serve; sleep 1000'])
      .withEnvironment({ WHO: 'tc' })
      .withCopyContentToContainer([{ content: 'copied', target: '/tmp/copied' }])
      .withWaitStrategy(Wait.forLogMessage('ready to serve'))
      .start();
    const result = await started.exec(['sh', '-c', 'echo $WHO; cat /tmp/copied']);
    same(result.exitCode, 0);
    same(result.output, 'tc\ncopied');
    await started.restart();
    await started.stop();
  });
  await test('testcontainers_health_check', async () => {
    const started = await new GenericContainer('busybox:latest')
      .withCommand(['sleep', '1000'])
      .withHealthCheck({ test: ['CMD', 'true'], interval: 200, timeout: 1000, retries: 3, startPeriod: 0 })
      .withWaitStrategy(Wait.forHealthCheck())
      .start();
    await started.stop();
  });
  process.exit(failures > 0 ? 1 : 0);
})();
