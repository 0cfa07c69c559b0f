public import Logging
public import MeshCore

/// Most calls that wait in a mirror. What its store can't do within a command timeout is better refused at once.
enum WaitingMax {
    static let memcached = 1024
    /// Each keeps a thread of few busy, and a mirror is asked by few: two batches under way, and loads of sessions that nobody holds.
    static let mongo = 256
    static let redis = 1024
}

extension MirrorURI {
    /// How many calls the mirror lets wait, its own among them; it refuses those beyond.
    public var callsWaitingMax: Int {
        switch store {
        case .memcached: WaitingMax.memcached
        case .mongo: WaitingMax.mongo
        case .redis: WaitingMax.redis
        }
    }

    /// The mirror behind this URI, not yet running.
    /// - Parameter commandTimeout: the longest wait for an answer; nil leaves it to the mirror.
    /// - Throws: ``Invalid`` when this build was made without the store's package trait, the store's library can't read it, or a file that it
    ///   names can't be used.
    public func makeMirror(commandTimeout: Duration? = nil, logger: Logger) throws(Invalid) -> any MeshCore.Mirror {
        switch store {
        case .memcached(let address):
            #if Memcached
                var configuration = MemcachedMirror.Configuration(address: address)
                if let commandTimeout { configuration.commandTimeout = commandTimeout }
                return MemcachedMirror(configuration, logger: logger)
            #else
                throw Invalid("this build has no Memcached; build it with the package trait Memcached")
            #endif
        case .redis(let address):
            #if Redis
                var configuration = RedisMirror.Configuration(address: address)
                if let commandTimeout { configuration.commandTimeout = commandTimeout }
                return try RedisMirror(configuration, logger: logger)
            #else
                throw Invalid("this build has no Redis; build it with the package trait Redis")
            #endif
        case .mongo(let address):
            #if MongoDB
                var configuration = MongoMirror.Configuration(address: address)
                if let commandTimeout { configuration.commandTimeout = commandTimeout }
                return try MongoMirror(configuration, logger: logger)
            #else
                throw Invalid("this build has no MongoDB; build it with the package trait MongoDB")
            #endif
        }
    }
}
