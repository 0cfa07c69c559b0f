// libmongoc with BSON as plain bytes. Debian's bson_t has an alignment that Swift doesn't give it, so none is ever made in Swift.
// No decision is taken here. No call is made before mesh_mongo_start.

#ifndef CMONGOSHIM_H
#define CMONGOSHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mesh_mongo_kind {
    // No server that could be used was found in time.
    MESH_MONGO_SELECTION,
    // The connection broke, or its time was up.
    MESH_MONGO_NETWORK,
    // User or password were refused.
    MESH_MONGO_LOGIN,
    // The server answered with an error; `code` is its number.
    MESH_MONGO_SERVER,
    // The server did it, but not as surely as the write concern asks.
    MESH_MONGO_WRITE_CONCERN,
    // A URI or an answer that the library can't use.
    MESH_MONGO_OTHER,
};

struct mesh_mongo_error {
    enum mesh_mongo_kind kind;
    uint32_t code;
    char message[512];
};

// Bytes of the library's; to be given back to mesh_mongo_free.
struct mesh_mongo_bytes {
    uint8_t *start;
    size_t count;
};

// A BSON document that stays where it is: one of Swift's for as long as a call takes, or one of the library's until the next call.
struct mesh_mongo_input {
    const uint8_t *start;
    size_t count;
};

// Once a process, before all else. `log` is called on any thread, with text that ends with the call.
void mesh_mongo_start(void (*log)(bool is_trouble, const char *text));

// Whether the library can read a URI; if not, `error` has why.
bool mesh_mongo_reads(const char *uri, struct mesh_mongo_error *error);

// What a URI leaves open, in milliseconds. What it says of reading from secondaries is passed over.
struct mesh_mongo_defaults {
    int32_t selection;
    int32_t connect;
    int32_t socket;
    int32_t connections;
};

// The calls on a pool may come from many threads at once; freeing is the last of all. Making one may look up names, and waits for them.
typedef struct mesh_mongo_pool mesh_mongo_pool;
mesh_mongo_pool *mesh_mongo_pool_make(const char *uri, struct mesh_mongo_defaults defaults, struct mesh_mongo_error *error);
void mesh_mongo_pool_free(mesh_mongo_pool *pool);

// Sends a command and waits for its answer. `writes` chooses between the library's rules for repeating reads and for repeating writes;
// `options` are the library's own, such as a concern that comes before that of the URI.
bool mesh_mongo_command(mesh_mongo_pool *pool, bool writes, const char *database, struct mesh_mongo_input command,
                        struct mesh_mongo_input options, struct mesh_mongo_bytes *reply, struct mesh_mongo_error *error);

// Follows a collection: by a change stream, and `what` is its pipeline, or by a cursor, and `what` is its filter. For one thread at a time,
// and to be closed before its pool is freed.
typedef struct mesh_mongo_tail mesh_mongo_tail;
mesh_mongo_tail *mesh_mongo_tail_open(mesh_mongo_pool *pool, const char *database, const char *collection, bool is_stream,
                                      struct mesh_mongo_input what, struct mesh_mongo_input options, struct mesh_mongo_error *error);
// 1 and the next document; 0 when none came for the `maxAwaitTimeMS` of the options; -1 when none will come any more. After the event
// "invalidate" a change stream says 0 for ever, and at once.
int mesh_mongo_tail_next(mesh_mongo_tail *tail, struct mesh_mongo_input *document, struct mesh_mongo_error *error);
// From where another change stream would go on; NULL when there is nothing yet.
struct mesh_mongo_input mesh_mongo_tail_token(mesh_mongo_tail *tail);
void mesh_mongo_tail_close(mesh_mongo_tail *tail);

void mesh_mongo_free(struct mesh_mongo_bytes bytes);

#endif
