// For CMongoShim alone; see Docs/decisions/0009-libmongoc-behind-a-shim.md.
#include <mongoc/mongoc.h>
