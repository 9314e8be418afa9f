psql "insert into people values ('ann'), ('bob')"
