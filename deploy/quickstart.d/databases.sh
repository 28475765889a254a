# The three institutions' databases, made and filled. Sourced by the quickstart.

# The clinic: MariaDB, on a Unix socket only.
mkdir -p "$folder/mariadb"
own "$folder/mariadb"
mariadb_options=(--no-defaults --datadir="$folder/mariadb/data")
run "${as_server[@]}" mariadb-install-db "${mariadb_options[@]}" --skip-test-db \
    --auth-root-authentication-method=normal --skip-name-resolve >"$folder/log/mariadb-install.log"
start mariadb "${as_server[@]}" /usr/sbin/mariadbd "${mariadb_options[@]}" \
    --socket="$folder/mariadb/mariadb.sock" --pid-file="$folder/mariadb/pid" --skip-networking \
    --skip-name-resolve --tmpdir="$folder/mariadb" --innodb-flush-log-at-trx-commit=2
mariadb=(mariadb --no-defaults --socket="$folder/mariadb/mariadb.sock" --user=root)
until_true mariadb "${mariadb[@]}" -e 'SELECT 1'
(cd "$folder/data" && run "${mariadb[@]}" --local-infile=1 -e "source $parts/clinic.sql")

# The hospital: PostgreSQL, on a Unix socket only. The port names the socket and nothing else.
postgresql_port=5432
postgresql=$(echo /usr/lib/postgresql/*/bin | tr ' ' '\n' | sort -V | tail -n 1)
mkdir -p "$folder/postgresql"
own "$folder/postgresql"
run "${as_server[@]}" "$postgresql/initdb" -D "$folder/postgresql/data" -U postgres \
    --encoding=SQL_ASCII --locale=C --auth=trust --no-sync >"$folder/log/initdb.log"
start postgresql "${as_server[@]}" "$postgresql/postgres" -D "$folder/postgresql/data" \
    -k "$folder/postgresql" -p $postgresql_port -c listen_addresses= -c fsync=off
psql=(psql -X -q -v ON_ERROR_STOP=1 -h "$folder/postgresql" -p $postgresql_port -U postgres)
until_true postgresql "${psql[@]}" -c 'SELECT 1'
run "${psql[@]}" -c "CREATE ROLE renkei LOGIN PASSWORD 'quickstart'" \
    -c "CREATE DATABASE old_emr ENCODING 'SQL_ASCII' TEMPLATE template0" \
    -c "CREATE DATABASE new_emr ENCODING 'UTF8' TEMPLATE template0"
(cd "$folder/data" && export PGCLIENTENCODING=SQL_ASCII &&
    run "${psql[@]}" -d old_emr -f "$parts/hospital-sjis.sql")
(cd "$folder/data" && run "${psql[@]}" -d new_emr -f "$parts/hospital-utf8.sql")

# The laboratory: a SQLite file, reached through unixODBC by an ODBC configuration of its own.
mkdir -p "$folder/odbc"
(cd "$folder/data" && run sqlite3 "$folder/odbc/laboratory.sqlite" ".read $parts/laboratory.sql")
cat >"$folder/odbc/odbcinst.ini" <<INI
[SQLite3]
Driver=$(ls /usr/lib/*/odbc/libsqlite3odbc.so)
INI
cat >"$folder/odbc/odbc.ini" <<INI
[laboratory]
Driver=SQLite3
Database=$folder/odbc/laboratory.sqlite
StepAPI=1
INI

look_at_bytes() {
    note "What the databases hold of 髙橋's name and of two other values, as bytes:"
    run "${mariadb[@]}" --default-character-set=utf8mb4 -N emr -e \
        "SELECT IdentificationID, HEX(userName) FROM patients WHERE userName LIKE '髙橋%' LIMIT 1"
    run "${psql[@]}" -At -d old_emr -c \
        "SELECT \"TreatmentID\", encode(\"Problems\"::bytea, 'hex') FROM treatments LIMIT 2"
    run sqlite3 "$folder/odbc/laboratory.sqlite" \
        "SELECT result_no, hex(note) FROM results WHERE result_no = 1"
}
