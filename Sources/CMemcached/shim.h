// Without util.h: its pool waits whole seconds only, so Sources/MeshMirrors/Memcached has threads of its own with a handle each.
#include <libmemcached/memcached.h>
