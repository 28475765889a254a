/*
 * The one table of errors: every error that a user can meet, with its stable name, the exit status
 * of the command line, the HTTP status of the REST interface, its English and Japanese title, and
 * the hint that is shown when the place that failed has no better one.
 *
 * A row is ERROR(identifier, "name", exit status, HTTP status, "English", "日本語", "hint").
 * Rows are only appended; a name never changes its meaning. No include guard: this file is
 * included wherever the table is expanded.
 */
ERROR(USAGE, "usage", 2, 400, "wrong use of the command", "コマンドの使い方が正しくありません",
      "run the command with --help")
ERROR(CONFIG, "config", 3, 500, "the configuration is not valid", "設定が正しくありません",
      "correct the file at the place named and run 'renkei check'")
ERROR(NOT_FOUND, "not-found", 4, 404, "there is no such object", "対象が見つかりません",
      "check the name or the address")
ERROR(EXISTS, "exists", 5, 409, "the object exists already", "対象は既に存在します",
      "choose another name or remove the old one first")
ERROR(IO, "io", 6, 500, "reading or writing failed", "読み書きに失敗しました",
      "check the path, its rights and the disk")
ERROR(DISK_FULL, "disk-full", 7, 507, "the disk is full", "ディスクの空き容量がありません",
      "free some space; the work goes on where it stopped")
ERROR(CORRUPT, "corrupt", 8, 500, "stored data is damaged", "保存データが壊れています",
      "restore from a backup; do not repair by hand")
ERROR(LIMIT, "limit", 9, 413, "a limit was exceeded", "上限を超えました",
      "the limit is named in the message and listed in the operator's manual")
ERROR(NO_MEMORY, "no-memory", 10, 503, "out of memory", "メモリが不足しています",
      "give the process more memory")
ERROR(INTERNAL, "internal", 11, 500, "an unexpected internal error", "内部エラーが発生しました",
      "report it with the log of the minute around it")
ERROR(LOCKED, "locked", 12, 409, "another process holds it", "他のプロセスが使用中です",
      "end the other process first")
ERROR(CRYPTO, "crypto", 13, 500, "a cryptographic operation failed", "暗号処理に失敗しました",
      "check the key files")
ERROR(TLS, "tls", 14, 502, "the secure connection failed", "安全な接続に失敗しました",
      "check the certificates, their dates and the clocks of both machines")
ERROR(TIMEOUT, "timeout", 15, 504, "it took too long", "時間切れです",
      "try again; if it stays so, look at the load of the other side")
ERROR(SOURCE_UNREACHABLE, "source-unreachable", 20, 502, "the source database cannot be reached",
      "データベースに接続できません", "check that the database is up, its host, port and socket")
ERROR(SOURCE_LOGIN, "source-login", 21, 502, "the source database refused the login",
      "データベースへのログインが拒否されました", "check user, password file and the account's rights")
ERROR(SOURCE_TABLE, "source-table", 22, 502, "the source database has no such table",
      "データベースに表がありません", "run 'renkei discover' to list the tables")
ERROR(SOURCE_COLUMN, "source-column", 23, 502, "the table has no such column",
      "表に列がありません", "run 'renkei discover' to list the columns")
ERROR(SOURCE_QUERY, "source-query", 24, 502, "the source database refused a query",
      "データベースが問い合わせを拒否しました", "check the account's rights on the table")
ERROR(SOURCE_LOST, "source-lost", 25, 502, "the connection to the source database was lost",
      "データベースとの接続が切れました", "nothing was lost; the work is resumed by itself")
ERROR(SOURCE_CANCELLED, "source-cancelled", 26, 503, "the query was cancelled",
      "問い合わせは取り消されました", "start it again when you wish")
ERROR(PLUGIN, "plugin", 27, 500, "the connector plugin cannot be used",
      "コネクタープラグインを使用できません",
      "install the plugin that belongs to this version of Renkei")
ERROR(WORKER, "worker", 28, 502, "the worker process ended unexpectedly",
      "ワーカープロセスが異常終了しました",
      "it is restarted by itself; see the log for the driver's last words")
ERROR(TEXT, "text", 29, 422, "text is not valid in its declared charset",
      "文字コードが宣言と一致しません", "check the charset of the column in the mapping")
ERROR(VALUE, "value", 30, 422, "a value does not fit its declared type",
      "値が宣言された型に合いません", "check the type of the field in the mapping")
ERROR(MAPPING, "mapping", 31, 422, "the mapping does not fit the table",
      "マッピングが表に合いません", "run 'renkei discover' and correct the mapping")
ERROR(NODE_UNREACHABLE, "node-unreachable", 40, 503, "the ledger node cannot be reached",
      "台帳ノードに接続できません", "check that renkei-node runs and its socket's path")
ERROR(NODE_STALE, "node-stale", 41, 503, "the ledger's head is too old",
      "台帳の先頭が古すぎます",
      "the chain makes no progress: check the other nodes and the clocks")
ERROR(TX_REJECTED, "transaction-rejected", 42, 409, "the ledger rejected the transaction",
      "台帳が取引を拒否しました", "the reason is in the message")
ERROR(VERIFY, "verify", 43, 409, "the proof does not verify", "証明を検証できません",
      "do not trust what it speaks of; keep the file and tell the hospital")
ERROR(PROTOCOL, "protocol", 44, 502, "the other side broke the protocol",
      "相手が通信規約に違反しました", "check that both sides run compatible versions")
ERROR(BAD_REQUEST, "bad-request", 50, 400, "the request is malformed", "要求の形式が正しくありません",
      "see the OpenAPI description at /v1/openapi.yaml")
ERROR(UNAUTHENTICATED, "unauthenticated", 51, 401, "sign-in is needed", "サインインが必要です",
      "get a nonce and a token first")
ERROR(FORBIDDEN, "forbidden", 52, 403, "this key may not see that", "この鍵には権限がありません",
      "sign in with the key that the record belongs to")
ERROR(METHOD, "method", 53, 405, "this method is not allowed here", "このメソッドは使用できません",
      "see the OpenAPI description at /v1/openapi.yaml")
ERROR(BUSY, "busy", 54, 503, "too many requests at once", "要求が多すぎます",
      "try again in a few seconds")
ERROR(RATE, "too-many-requests", 55, 429, "too many requests from this client",
      "このクライアントからの要求が多すぎます", "wait a minute")
ERROR(VANISHED, "rows-vanished", 32, 409, "too many rows have vanished from a table",
      "表から多数の行が消えています",
      "look at the database first; 'renkei sync SOURCE --accept-deletions TABLE' if they are gone")
ERROR(GATEWAY_UNREACHABLE, "gateway-unreachable", 45, 502, "the gateway cannot be reached",
      "ゲートウェイに接続できません", "check that renkei-gateway runs (`renkei start`), and its address")
