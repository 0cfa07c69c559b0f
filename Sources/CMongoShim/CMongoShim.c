#include "CMongoShim.h"

#include <mongoc/mongoc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// The library counts in shared memory that is named after the process. A killed process would leave it behind, and a later one with the same
// number complain of that on standard error. What is mapped already needs no name. This runs after the library's own constructor, on which it depends.
__attribute__((constructor)) static void forget_shared_memory(void) {
    char name[32];
    snprintf(name, sizeof name, "/mongoc-%u", (unsigned)getpid());
    shm_unlink(name);
}

static void (*log_to)(bool is_trouble, const char *text);

static void pass_on(mongoc_log_level_t level, const char *domain, const char *message, void *context) {
    (void) domain;
    (void) context;
    if (level <= MONGOC_LOG_LEVEL_DEBUG) log_to(level <= MONGOC_LOG_LEVEL_WARNING, message);
}

void mesh_mongo_start(void (*log)(bool is_trouble, const char *text)) {
    log_to = log;
    // First, for the library's own start may want to say something. Without a handler it writes to standard error.
    mongoc_log_set_handler(pass_on, NULL);
    mongoc_init();
}

static void fail(struct mesh_mongo_error *error, enum mesh_mongo_kind kind, uint32_t code, const char *message) {
    error->kind = kind;
    error->code = code;
    bson_strncpy(error->message, message, sizeof error->message);
}

static void explain(const bson_error_t *from, struct mesh_mongo_error *error) {
    enum mesh_mongo_kind kind = MESH_MONGO_OTHER;
    switch (from->domain) {
    case MONGOC_ERROR_SERVER:
        kind = MESH_MONGO_SERVER;
        break;
    case MONGOC_ERROR_SERVER_SELECTION:
        kind = MESH_MONGO_SELECTION;
        break;
    case MONGOC_ERROR_STREAM:
        kind = MESH_MONGO_NETWORK;
        break;
    case MONGOC_ERROR_WRITE_CONCERN:
        kind = MESH_MONGO_WRITE_CONCERN;
        break;
    case MONGOC_ERROR_SCRAM:
        kind = MESH_MONGO_LOGIN;
        break;
    case MONGOC_ERROR_CLIENT:
        if (from->code == MONGOC_ERROR_CLIENT_AUTHENTICATE) kind = MESH_MONGO_LOGIN;
        break;
    }
    fail(error, kind, from->code, from->message);
}

static mongoc_uri_t *read_uri(const char *text, struct mesh_mongo_error *error) {
    bson_error_t reason;
    mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &reason);
    if (!uri) explain(&reason, error);
    return uri;
}

bool mesh_mongo_reads(const char *text, struct mesh_mongo_error *error) {
    mongoc_uri_t *uri = read_uri(text, error);
    if (uri) mongoc_uri_destroy(uri);
    return uri != NULL;
}

static void set_unless_written(mongoc_uri_t *uri, const char *option, int32_t value) {
    if (!mongoc_uri_has_option(uri, option)) mongoc_uri_set_option_as_int32(uri, option, value);
}

mesh_mongo_pool *mesh_mongo_pool_make(const char *text, struct mesh_mongo_defaults defaults, struct mesh_mongo_error *error) {
    mongoc_uri_t *uri = read_uri(text, error);
    if (!uri) return NULL;
    set_unless_written(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, defaults.selection);
    set_unless_written(uri, MONGOC_URI_CONNECTTIMEOUTMS, defaults.connect);
    set_unless_written(uri, MONGOC_URI_SOCKETTIMEOUTMS, defaults.socket);
    set_unless_written(uri, MONGOC_URI_MAXPOOLSIZE, defaults.connections);
    set_unless_written(uri, MONGOC_URI_WAITQUEUETIMEOUTMS, defaults.socket);
    bson_error_t reason;
    mongoc_client_pool_t *pool = mongoc_client_pool_new_with_error(uri, &reason);
    mongoc_uri_destroy(uri);
    if (!pool) {
        explain(&reason, error);
        return NULL;
    }
    // Only so is an error of the server told from one of the library.
    mongoc_client_pool_set_error_api(pool, MONGOC_ERROR_API_VERSION_2);
    return (mesh_mongo_pool *) pool;
}

void mesh_mongo_pool_free(mesh_mongo_pool *pool) {
    mongoc_client_pool_destroy((mongoc_client_pool_t *) pool);
}

bool mesh_mongo_command(mesh_mongo_pool *opaque, bool writes, const char *database, const uint8_t *bytes, size_t count,
                        struct mesh_mongo_bytes *reply, struct mesh_mongo_error *error) {
    mongoc_client_pool_t *pool = (mongoc_client_pool_t *) opaque;
    bson_t command;
    if (!bson_init_static(&command, bytes, count)) {
        fail(error, MESH_MONGO_OTHER, 0, "a command of ours is no BSON");
        return false;
    }
    mongoc_client_t *client = mongoc_client_pool_pop(pool);
    if (!client) {
        fail(error, MESH_MONGO_NETWORK, 0, "all connections that maxPoolSize allows are busy");
        return false;
    }
    bson_t answer;
    bson_error_t reason;
    bool done = writes ? mongoc_client_write_command_with_opts(client, database, &command, NULL, &answer, &reason)
                       : mongoc_client_read_command_with_opts(client, database, &command, NULL, NULL, &answer, &reason);
    mongoc_client_pool_push(pool, client);
    if (done) {
        uint32_t length;
        reply->start = bson_destroy_with_steal(&answer, true, &length);
        reply->count = length;
    } else {
        bson_destroy(&answer);
        explain(&reason, error);
    }
    return done;
}

void mesh_mongo_free(struct mesh_mongo_bytes bytes) {
    bson_free(bytes.start);
}

struct mesh_mongo_tail {
    mongoc_client_pool_t *pool;
    mongoc_client_t *client;
    mongoc_collection_t *collection;
    mongoc_cursor_t *cursor;
};

mesh_mongo_tail *mesh_mongo_tail_open(mesh_mongo_pool *opaque, const char *database, const char *collection, int32_t patience,
                                      struct mesh_mongo_error *error) {
    mongoc_client_pool_t *pool = (mongoc_client_pool_t *) opaque;
    mongoc_client_t *client = mongoc_client_pool_pop(pool);
    if (!client) {
        fail(error, MESH_MONGO_NETWORK, 0, "all connections that maxPoolSize allows are busy");
        return NULL;
    }
    mesh_mongo_tail *tail = bson_malloc0(sizeof *tail);
    tail->pool = pool;
    tail->client = client;
    tail->collection = mongoc_client_get_collection(client, database, collection);
    bson_t *options = BCON_NEW("tailable", BCON_BOOL(true), "awaitData", BCON_BOOL(true), "maxAwaitTimeMS", BCON_INT64(patience));
    bson_t *all = bson_new();
    tail->cursor = mongoc_collection_find_with_opts(tail->collection, all, options, NULL);
    bson_destroy(all);
    bson_destroy(options);
    bson_error_t reason;
    if (mongoc_cursor_error(tail->cursor, &reason)) {
        explain(&reason, error);
        mesh_mongo_tail_close(tail);
        return NULL;
    }
    return tail;
}

int mesh_mongo_tail_next(mesh_mongo_tail *tail, struct mesh_mongo_bytes *document, struct mesh_mongo_error *error) {
    const bson_t *next;
    if (mongoc_cursor_next(tail->cursor, &next)) {
        // The library's own bytes; Swift reads them and gives nothing back.
        document->start = (uint8_t *) bson_get_data(next);
        document->count = next->len;
        return 1;
    }
    bson_error_t reason;
    if (mongoc_cursor_error(tail->cursor, &reason)) {
        explain(&reason, error);
        return -1;
    }
    if (mongoc_cursor_more(tail->cursor)) return 0;
    fail(error, MESH_MONGO_OTHER, 0, "the cursor has ended");
    return -1;
}

void mesh_mongo_tail_close(mesh_mongo_tail *tail) {
    mongoc_cursor_destroy(tail->cursor);
    mongoc_collection_destroy(tail->collection);
    mongoc_client_pool_push(tail->pool, tail->client);
    bson_free(tail);
}
