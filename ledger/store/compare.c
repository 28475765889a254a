#include "ledger/store/compare.h"

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "ledger/store/store.h"

struct side {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    bool begun;
    bool some; /* key and value are an entry's; they stay where they are until the side is closed */
    MDB_val key;
    MDB_val value;
};

static enum error_code broken(struct error *err, int rc) {
    if (rc == ENOENT || rc == MDB_NOTFOUND)
        return error_set(err, ERROR_NOT_FOUND, "there is no database");
    return error_set(err, ERROR_CORRUPT, "the database cannot be read: %s", mdb_strerror(rc));
}

static void close_side(struct side *side) {
    if (side->cursor != NULL)
        mdb_cursor_close(side->cursor);
    if (side->txn != NULL)
        mdb_txn_abort(side->txn);
    if (side->env != NULL)
        mdb_env_close(side->env);
}

static enum error_code open_side(const char *folder, struct side *side, struct error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/state", folder) >= (int)sizeof path)
        return error_set(err, ERROR_LIMIT, "%s: the path is too long", folder);
    int rc = mdb_env_create(&side->env);
    if (rc == 0)
        rc = mdb_env_open(side->env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(side->env, NULL, MDB_RDONLY, &side->txn);
    if (rc == 0)
        rc = mdb_dbi_open(side->txn, NULL, 0, &side->dbi);
    if (rc == 0)
        rc = mdb_cursor_open(side->txn, side->dbi, &side->cursor);
    return rc == 0 ? ERROR_NONE : broken(err, rc);
}

/* LMDB's own order. */
static int key_order(const MDB_val *a, const MDB_val *b) {
    size_t len = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    int order = memcmp(a->mv_data, b->mv_data, len);
    return order != 0 ? order : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

/* Keys that do not grow would let a damaged tree go round for ever. */
static enum error_code next(struct side *side, struct error *err) {
    MDB_val before = side->key;
    int rc = mdb_cursor_get(side->cursor, &side->key, &side->value,
                            side->begun ? MDB_NEXT : MDB_FIRST);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return broken(err, rc);
    side->some = rc == 0;
    if (side->some && side->begun && key_order(&before, &side->key) >= 0)
        return error_set(err, ERROR_CORRUPT, "its keys are not in their order");
    side->begun = true;
    return ERROR_NONE;
}

static enum error_code read_height(const struct side *side, uint64_t *ret_height,
                                   struct error *err) {
    char name[] = STORE_META_KEY;
    MDB_val key = {sizeof name - 1, name};
    MDB_val value;
    int rc = mdb_get(side->txn, side->dbi, &key, &value);
    if (rc != 0)
        return broken(err, rc);
    const uint8_t *bytes = value.mv_data;
    if (value.mv_size < STORE_META_HEIGHT_AT + 8 || bytes[0] != STORE_META_FORMAT)
        return error_set(err, ERROR_CORRUPT, "its meta entry is damaged");
    *ret_height = wire_load_u64(bytes + STORE_META_HEIGHT_AT);
    return ERROR_NONE;
}

enum error_code store_compare_height(const char *folder, uint64_t *ret_height, struct error *err) {
    struct side side = {.env = NULL};
    enum error_code code = open_side(folder, &side, err);
    if (code == ERROR_NONE)
        code = read_height(&side, ret_height, err);
    close_side(&side);
    return code;
}

static struct bytes bytes_of_val(const MDB_val *val) {
    return bytes_of(val->mv_data, val->mv_size);
}

static enum error_code compare(struct side *found, struct side *expected, store_differs_fn differs,
                               void *self, struct error *err) {
    const struct bytes none = bytes_of(NULL, 0);
    TRY(next(found, err));
    TRY(next(expected, err));
    while (found->some || expected->some) {
        int order = !found->some      ? 1
                    : !expected->some ? -1
                                      : key_order(&found->key, &expected->key);
        if (order < 0)
            differs(self, bytes_of_val(&found->key), bytes_of_val(&found->value), none);
        else if (order > 0)
            differs(self, bytes_of_val(&expected->key), none, bytes_of_val(&expected->value));
        else if (!bytes_equal(bytes_of_val(&found->value), bytes_of_val(&expected->value)))
            differs(self, bytes_of_val(&found->key), bytes_of_val(&found->value),
                    bytes_of_val(&expected->value));
        if (order <= 0)
            TRY(next(found, err));
        if (order >= 0)
            TRY(next(expected, err));
    }
    return ERROR_NONE;
}

enum error_code store_compare(const char *found, const char *expected, store_differs_fn differs,
                              void *self, struct error *err) {
    struct side sides[2] = {{.env = NULL}, {.env = NULL}};
    enum error_code code = open_side(found, &sides[0], err);
    if (code == ERROR_NONE)
        code = open_side(expected, &sides[1], err);
    if (code == ERROR_NONE)
        code = compare(&sides[0], &sides[1], differs, self, err);
    close_side(&sides[0]);
    close_side(&sides[1]);
    return code;
}
