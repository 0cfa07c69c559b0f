// Only the formatter and the reader are used; see Docs/decisions/0004-hiredis-as-a-codec.md. async.h stays out on purpose.
#include <hiredis/hiredis.h>
