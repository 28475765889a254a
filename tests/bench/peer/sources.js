/*
 * What one would write in Node.js instead of the record path: read the table's raw bytes, decode
 * Shift_JIS by iconv-lite, make the canonical document by the canonicalize package, both digests and
 * the leaf by node:crypto. For tests/bench/sources only.
 *
 *   node sources.js mysql SOCKET DATABASE TABLE ROWS
 *   node sources.js postgresql SOCKET-FOLDER:PORT DATABASE TABLE ROWS
 *
 * Prints one JSON object. leaves_xor must be what `sources_pull path` prints for the same rows: two
 * programs that share no code agree on every byte that is hashed.
 */
'use strict';

const {createHash} = require('node:crypto');
const canonicalize = require('canonicalize');
const iconv = require('iconv-lite');

// As the normalizer selects them: key, patient, date, then as they are declared.
const COLUMNS = ['visit_no', 'patient_id', 'record_date', 'dose', 'allergy', 'weight', 'name',
  'department', 'diagnosis', 'prescription', 'note', 'doctor'];
const NUMBERS = new Set(['visit_no', 'dose', 'allergy', 'weight']);
const DATE = COLUMNS.indexOf('record_date');
const BATCH_ROWS = 1000;
const CONTENT = Buffer.from('renkei/content/1\n');
const RAW = Buffer.from('renkei/raw/1\n');

let rows = 0;
const sum = Buffer.alloc(32);

const sha256 = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

const u32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

// cells: a Buffer for each of COLUMNS, as the database holds it.
function take(cells) {
  const fields = {};
  cells.forEach((cell, i) => {
    const text = iconv.decode(cell, 'CP932');
    fields[COLUMNS[i]] = NUMBERS.has(COLUMNS[i]) ? Number(text)
        : i === DATE ? text.slice(0, 10).replaceAll('-', '/') : text;
  });
  const address = `renkei://bench/bench/visits/${cells[0]}`;
  const document = canonicalize({address, category: 'EMR03', fields});
  const parts = [Buffer.from([1]), u32(Buffer.byteLength(address)), Buffer.from(address), u32(cells.length)];
  for (const cell of cells) parts.push(Buffer.from([0]), u32(cell.length), cell);
  const r = Buffer.alloc(32);
  cells[0].copy(r);
  const leaf = Buffer.alloc(201); // the prefix 0x00 before 200 bytes
  leaf.set([1, 1, 1, 2], 1);
  leaf.writeUInt32BE(1, 5);
  sha256(CONTENT, r, document).copy(leaf, 1 + 56);
  sha256(RAW, r, Buffer.concat(parts)).copy(leaf, 1 + 88);
  const hash = sha256(leaf);
  for (let i = 0; i < 32; i++) sum[i] ^= hash[i];
  rows++;
}

async function mysql(socketPath, database, table, limit) {
  const connection = require('mysql2').createConnection({socketPath, user: 'root', database});
  await connection.promise().query('SET character_set_results=NULL');
  const from = process.hrtime.bigint();
  await new Promise((resolve, reject) => {
    connection.query({sql: `SELECT ${COLUMNS} FROM ${table} LIMIT ${limit}`, rowsAsArray: true,
      typeCast: (field) => field.buffer()})
        .on('result', take).on('end', resolve).on('error', reject);
  });
  const us = Number(process.hrtime.bigint() - from) / 1000;
  connection.end();
  return us;
}

// The client decodes every text as UTF-8: what is Shift_JIS is asked for as bytea.
async function postgresql(place, database, table, limit) {
  const {Client} = require('pg');
  const Cursor = require('pg-cursor');
  const [host, port] = place.split(':');
  const client = new Client({host, port, database, user: 'postgres', client_encoding: 'SQL_ASCII'});
  await client.connect();
  const columns = COLUMNS.map((name) => NUMBERS.has(name) || name === 'record_date' ? name
      : `convert_to(${name}, 'SQL_ASCII')`);
  const types = {getTypeParser: (oid) => oid === 17 ? (text) => Buffer.from(text.slice(2), 'hex')
      : (text) => Buffer.from(text)};
  const from = process.hrtime.bigint();
  const cursor = client.query(new Cursor(`SELECT ${columns} FROM ${table} LIMIT ${limit}`, [],
      {rowMode: 'array', types}));
  for (let batch = await cursor.read(BATCH_ROWS); batch.length > 0;
    batch = await cursor.read(BATCH_ROWS)) batch.forEach(take);
  const us = Number(process.hrtime.bigint() - from) / 1000;
  await client.end();
  return us;
}

async function main() {
  const [kind, place, database, table, limit] = process.argv.slice(2);
  const us = await {mysql, postgresql}[kind](place, database, table, Number(limit));
  const {user, system} = process.cpuUsage();
  console.log(JSON.stringify({rows, us: Math.round(us), cpu_us: user + system,
    leaves_xor: sum.toString('hex')}));
}

main();
