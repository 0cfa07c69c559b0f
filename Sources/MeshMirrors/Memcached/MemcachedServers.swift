#if Memcached
    import Logging
    import MeshCore
    import NIOConcurrencyHelpers
    import NIOCore

    /// The servers as one thread has them: a connection to each that it has had to do with.
    ///
    /// Every call on a server begins with a `get`. So nothing is stored on a connection on which no memcached has answered yet: what
    /// listens on the port may be a program that would take a value's lines for commands.
    final class MemcachedServers {
        /// How often values that other agents keep changing are tried again.
        private static let attemptsMax = 32

        let configuration: MemcachedMirror.Configuration
        /// Of each server, shared by all threads.
        private let outages: [MemcachedOutage]
        private let logger: Logger
        private let router: MemcachedRouter?
        private var connections: [MemcachedConnection?]
        /// When the call at hand must have ended.
        var deadline: NIODeadline = .distantFuture

        init(_ configuration: MemcachedMirror.Configuration, outages: [MemcachedOutage], logger: Logger) {
            self.configuration = configuration
            self.logger = logger
            self.outages = outages
            router = MemcachedRouter(configuration.address.servers)
            connections = Array(repeating: nil, count: configuration.address.servers.count)
        }

        /// The index of the server that has `key`.
        func server(of key: String) throws(MirrorError) -> Int {
            guard let router else { throw .noMemory }
            return router.server(of: key)
        }

        /// What is under each of `keys`, nil when the server said that there is nothing.
        func get(_ keys: [String], from server: Int) throws(MirrorError) -> [MemcachedConnection.Item?] {
            var mayBeStale = connections[server] != nil
            while true {
                let connection: MemcachedConnection = if let connection = connections[server] { connection } else { try open(server) }
                let patience = try patience()
                do throws(MemcachedConnection.Failure) {
                    return try connection.get(keys, within: patience)
                } catch {
                    connections[server] = nil
                    switch error.kind {
                    case .lost where mayBeStale, .closed where mayBeStale:
                        // Closed long ago, perhaps. To ask twice does no harm.
                        mayBeStale = false
                    case .tooLarge where keys.count == 1:
                        // Nothing of ours is as large. Read as an empty value, it is as foreign. Others are stored on this connection yet.
                        _ = try open(server)
                        return [MemcachedConnection.Item(version: 0, value: [])]
                    case .tooLarge:
                        var items: [MemcachedConnection.Item?] = []
                        for key in keys { items.append(try get(key, from: server)) }
                        return items
                    default: throw self.error(error, of: server)
                    }
                }
            }
        }

        func get(_ key: String, from server: Int) throws(MirrorError) -> MemcachedConnection.Item? {
            try get([key], from: server).first ?? nil
        }

        /// What a step makes of what is under a key.
        enum Change {
            case keep
            case store([UInt8], expiry: UInt32)
        }

        /// Changes what is under each of `keys`, asking for all at once; where somebody came between, all over again.
        /// - Parameter step: is given the index of a key and what is there. It may be called more than once for a key; the last call counts.
        /// - Returns: the indices of keys whose new value is more than the server takes.
        func change(
            _ keys: [String], on server: Int, _ step: (Int, MemcachedConnection.Item?) throws(MirrorError) -> Change
        ) throws(MirrorError) -> [Int] {
            var tooLarge: [Int] = []
            var waiting = Array(keys.indices)
            for _ in 0..<Self.attemptsMax where !waiting.isEmpty {
                var overtaken: [Int] = []
                for (index, item) in zip(waiting, try get(waiting.map { keys[$0] }, from: server)) {
                    guard case .store(let value, let expiry) = try step(index, item) else { continue }
                    switch try put(value, under: keys[index], over: item?.version, expiry: expiry, on: server) {
                    case .stored: continue
                    case .overtaken: overtaken.append(index)
                    case .tooLarge: tooLarge.append(index)
                    case .full:
                        let place = configuration.address.servers[server]
                        throw MirrorError(
                            .refused, "memcached at \(place) has no memory left and evicts nothing; raise its option -m or take -M away")
                    }
                }
                waiting = overtaken
            }
            guard waiting.isEmpty else {
                throw MirrorError(.timedOut, "others changed the same values in memcached at each of \(Self.attemptsMax) attempts")
            }
            return tooLarge
        }

        /// Stores `value` in the place of `version`, or where there is nothing.
        private func put(
            _ value: [UInt8], under key: String, over version: UInt64?, expiry: UInt32, on server: Int
        ) throws(MirrorError) -> MemcachedConnection.Stored {
            try tell(server) { connection throws(MemcachedConnection.Failure) in
                if let version { return try connection.replace(version, of: key, by: value, expiry: expiry) }
                return try connection.add(key, value, expiry: expiry)
            }
        }

        /// Removes what is under `key`, on a server that was asked for it before.
        func remove(_ key: String, on server: Int) throws(MirrorError) {
            try tell(server) { connection throws(MemcachedConnection.Failure) in try connection.remove(key) }
        }

        /// What isn't a `get` and is never tried again on another connection.
        func tell<Answer>(
            _ server: Int, _ body: (MemcachedConnection) throws(MemcachedConnection.Failure) -> Answer
        ) throws(MirrorError) -> Answer {
            guard let connection = connections[server] else {
                throw MirrorError(.unreachable, "the connection to memcached at \(configuration.address.servers[server]) was closed")
            }
            do throws(MemcachedConnection.Failure) {
                return try body(connection)
            } catch {
                connections[server] = nil
                throw self.error(error, of: server)
            }
        }

        private func open(_ server: Int) throws(MirrorError) -> MemcachedConnection {
            try outages[server].admit(within: try patience())
            do throws(MirrorError) {
                let connection = try connected(to: server)
                connections[server] = connection
                outages[server].ended()
                logger.debug("mirror connected", metadata: [LogKey.mirror: "\(connection.server)"])
                return connection
            } catch {
                outages[server].began(error, retryDelay: configuration.retryDelay)
                logger.debug(
                    "mirror can't be reached",
                    metadata: [LogKey.mirror: "\(configuration.address.servers[server])", LogKey.reason: "\(error)"])
                throw error
            }
        }

        /// A connection on which a memcached has answered.
        private func connected(to server: Int) throws(MirrorError) -> MemcachedConnection {
            let place = configuration.address.servers[server]
            guard let connection = MemcachedConnection(to: place, connectTimeout: TimeAmount(configuration.connectTimeout)) else {
                throw .noMemory
            }
            let patience = try patience()
            do throws(MemcachedConnection.Failure) {
                _ = try connection.get(["sm:"], within: patience)
                return connection
            } catch {
                switch error.kind {
                case .timedOut, .closed:
                    throw MirrorError(
                        self.error(error, of: server).code,
                        """
                        \(place) did not answer as a memcached does in its binary protocol: it hangs, is something else, or was started \
                        with -B ascii
                        """)
                default: throw self.error(error, of: server)
                }
            }
        }

        /// What is left of the call's time.
        private func patience() throws(MirrorError) -> TimeAmount {
            let left = deadline - .now()
            guard left > .zero else { throw MirrorError(.timedOut, "memcached did not answer within \(configuration.commandTimeout)") }
            return left
        }

        private func error(_ failure: MemcachedConnection.Failure, of server: Int) -> MirrorError {
            let place = configuration.address.servers[server]
            return switch failure.kind {
            case .lost(let reason): MirrorError(.unreachable, "memcached at \(place) can't be reached: \(reason)")
            case .closed: MirrorError(.unreachable, "memcached at \(place) closed the connection")
            case .timedOut: MirrorError(.timedOut, "memcached at \(place) did not answer within \(configuration.commandTimeout)")
            case .unsound, .tooLarge: MirrorError(.refused, "what answers at \(place) is no memcached; correct the mirror URI")
            }
        }
    }

    /// Whether a server is out of reach, as all threads have found. One that failed is left alone for a moment, so that calls for it fail at once
    /// and those for the others don't wait behind them.
    final class MemcachedOutage: @unchecked Sendable {
        // @unchecked: `failure` is only touched under `isTried`.
        private var failure: (error: MirrorError, retryAt: NIODeadline)?
        /// True while a thread finds out whether the outage is over.
        private let isTried = ConditionLock(value: false)

        /// Long enough to hear of a server that is back, and short beside a command timeout: calls for other servers wait behind this one.
        private static let patienceMax = TimeAmount.milliseconds(50)

        /// Returns when the server may be tried. During an outage one thread tries, and the others wait a moment for what it finds.
        /// - Throws: the error of the last attempt until it is time for another.
        func admit(within patience: TimeAmount) throws(MirrorError) {
            let seconds = Double(min(patience, Self.patienceMax).nanoseconds) / 1e9
            guard isTried.lock(whenValue: false, timeoutSeconds: seconds) else {
                isTried.lock()
                let error = failure?.error
                isTried.unlock()
                if let error { throw error }
                return
            }
            guard let failure else { return isTried.unlock() }
            let isDue = NIODeadline.now() >= failure.retryAt
            isTried.unlock(withValue: isDue)
            if !isDue { throw failure.error }
        }

        func began(_ error: MirrorError, retryDelay: Duration) {
            isTried.lock()
            failure = (error, .now() + TimeAmount(retryDelay))
            isTried.unlock(withValue: false)
        }

        func ended() {
            isTried.lock()
            failure = nil
            isTried.unlock(withValue: false)
        }
    }

    extension MirrorError {
        static let noMemory = MirrorError(.unreachable, "there is no memory for a connection to memcached")
    }
#endif
