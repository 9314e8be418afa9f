create table people (name text);
