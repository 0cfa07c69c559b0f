public import Logging
public import MeshCore

extension MirrorURI {
    /// The mirror behind this URI, not yet running.
    /// - Throws: ``Invalid`` when this build was made without the store's package trait, the store's library can't read it, or a file that it
    ///   names can't be used.
    public func makeMirror(logger: Logger) throws(Invalid) -> any MeshCore.Mirror {
        switch store {
        case .memcached(let address):
            #if Memcached
                return MemcachedMirror(MemcachedMirror.Configuration(address: address), logger: logger)
            #else
                throw Invalid("this build has no Memcached; build it with the package trait Memcached")
            #endif
        case .redis(let address):
            #if Redis
                return try RedisMirror(RedisMirror.Configuration(address: address), logger: logger)
            #else
                throw Invalid("this build has no Redis; build it with the package trait Redis")
            #endif
        case .mongo(let address):
            #if MongoDB
                return try MongoMirror(MongoMirror.Configuration(address: address), logger: logger)
            #else
                throw Invalid("this build has no MongoDB; build it with the package trait MongoDB")
            #endif
        }
    }
}
