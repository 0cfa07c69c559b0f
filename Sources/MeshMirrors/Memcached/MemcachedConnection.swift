#if Memcached
    import CMemcached
    import MeshCore
    import NIOCore

    #if canImport(Glibc)
        import Glibc
    #else
        import Darwin
    #endif

    /// A connection to one server: a handle of libmemcached, used by one thread.
    ///
    /// "Without creating your own locking structures you can not share a single memcached_st" (libmemcached(3)): each thread has its own, and
    /// there are no locks.
    ///
    /// The binary protocol, because in the text protocol a storing command that is answered by a word of another command, such as END, ends
    /// the process: an assertion of the library, which Debian leaves on. Nothing that is answered in the binary protocol leads there.
    ///
    /// After any error the connection must not be used again: the library may leave it open with an answer still on its way.
    final class MemcachedConnection {
        struct Item {
            /// The number of this version of the value; a change that names it fails when there is another.
            var version: UInt64
            var value: [UInt8]
        }

        /// How storing went, when the server has answered.
        enum Stored: Equatable {
            case stored
            /// Somebody else stored or removed it in between.
            case overtaken
            /// More than the server takes for one item.
            case tooLarge
            /// There is no memory left, and the server evicts nothing.
            case full
        }

        struct Failure: Error {
            enum Kind {
                /// No connection came about, or it broke.
                case lost(String)
                /// The server closed it.
                case closed
                case timedOut
                /// Something came that is no answer to what was asked.
                case unsound
                /// A value above `valueBytesMax`. Whose, the library doesn't say.
                case tooLarge
            }

            var kind: Kind
        }

        /// Most memory for one value, several times what a session can have. The library takes as much as a server announces.
        static let valueBytesMax = 4 << 20
        /// Most keys of one `get`: so many answers must wait in the buffers of the sockets and the server.
        static let keysMax = 256

        let server: HostAndPort
        private let handle: UnsafeMutablePointer<memcached_st>
        private let result: UnsafeMutablePointer<memcached_result_st>

        /// Connects with the first `get`. Nil when there is no memory for it.
        init?(to server: HostAndPort, connectTimeout: TimeAmount) {
            guard let handle = memcached_create(nil) else { return nil }
            memcached_set_memory_allocators(
                handle,
                { _, count, _ in count <= MemcachedConnection.valueBytesMax ? malloc(count) : nil },
                { _, memory, _ in free(memory) },
                { _, memory, count, _ in count <= MemcachedConnection.valueBytesMax ? realloc(memory, count) : nil },
                { _, count, size, _ in calloc(count, size) }, nil)
            // In memory of ours: one of the library's own is freed by it at the end of each answer.
            let result = UnsafeMutablePointer<memcached_result_st>.allocate(capacity: 1)
            guard memcached_server_add(handle, server.host, in_port_t(server.port)) == MEMCACHED_SUCCESS,
                memcached_result_create(handle, result) != nil
            else {
                result.deallocate()
                memcached_free(handle)
                return nil
            }
            self.server = server
            self.handle = handle
            self.result = result
            memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 1)
            memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1)
            memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1)
            memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, connectTimeout.behavior)
        }

        deinit {
            memcached_result_free(result)
            result.deallocate()
            // The library says goodbye and waits for the server to close. A stalled one wouldn't.
            memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, 0)
            memcached_free(handle)
        }

        /// What is under each of `keys`, which are at most ``keysMax`` and none of them twice; nil when the server said that there is nothing.
        /// - Parameter patience: the longest wait for each part of the answer, also of the commands that follow until the next `get`.
        func get(_ keys: [String], within patience: TimeAmount) throws(Failure) -> [Item?] {
            memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, patience.behavior)
            let asked = withKeys(keys) { memcached_mget(handle, $0, $1, keys.count) }
            guard asked == MEMCACHED_SUCCESS else { throw failure(asked) }
            var items = [Item?](repeating: nil, count: keys.count)
            var next = 0
            var ended = MEMCACHED_SUCCESS
            while memcached_fetch_result(handle, result, &ended) != nil {
                // Answers come in the order of the questions, without those that have none.
                let key = UnsafeRawBufferPointer(start: memcached_result_key_value(result), count: memcached_result_key_length(result))
                while next < keys.count, !key.elementsEqual(keys[next].utf8) { next += 1 }
                guard next < keys.count else { throw Failure(kind: .unsound) }
                let value = UnsafeRawBufferPointer(start: memcached_result_value(result), count: memcached_result_length(result))
                items[next] = Item(version: memcached_result_cas(result), value: Array(value))
                next += 1
            }
            // A connection that breaks, a late answer and one that is no answer at all may all be reported as "not found", with the error
            // beside it: only without any is it true.
            let error = memcached_last_error(handle)
            guard error == MEMCACHED_SUCCESS else { throw failure(error) }
            guard ended == MEMCACHED_END || ended == MEMCACHED_NOTFOUND else { throw failure(ended) }
            return items
        }

        /// Stores what isn't there yet.
        func add(_ key: String, _ value: [UInt8], expiry: UInt32) throws(Failure) -> Stored {
            try stored(with(key, value) { memcached_add(handle, $0, $1, $2, $3, time_t(expiry), 0) })
        }

        /// Stores in the place of a version that is there.
        func replace(_ version: UInt64, of key: String, by value: [UInt8], expiry: UInt32) throws(Failure) -> Stored {
            try stored(with(key, value) { memcached_cas(handle, $0, $1, $2, $3, time_t(expiry), 0, version) })
        }

        /// Removes whatever is under `key`, if anything is.
        func remove(_ key: String) throws(Failure) {
            let code = memcached_delete(handle, key, key.utf8.count, 0)
            guard code == MEMCACHED_SUCCESS || code == MEMCACHED_NOTFOUND else { throw failure(code) }
        }

        /// What the server says of itself, by names and values of its own: counts, or with `settings` how it was started.
        func statistics(_ kind: String? = nil) throws(Failure) -> [String: String] {
            let notes = Notes()
            let code = memcached_stat_execute(
                handle, kind,
                { _, name, nameCount, value, valueCount, notes in
                    guard let notes, let name, let value else { return MEMCACHED_SUCCESS }
                    let texts = (
                        UnsafeRawBufferPointer(start: name, count: nameCount), UnsafeRawBufferPointer(start: value, count: valueCount)
                    )
                    Unmanaged<Notes>.fromOpaque(notes).takeUnretainedValue().take(texts.0, texts.1)
                    return MEMCACHED_SUCCESS
                }, Unmanaged.passUnretained(notes).toOpaque())
            let values = withExtendedLifetime(notes) { notes.values }
            guard code == MEMCACHED_SUCCESS else { throw failure(code) }
            return values
        }

        private final class Notes {
            private(set) var values: [String: String] = [:]

            /// Far more than a server has, and longer.
            private static let valuesMax = 1024
            private static let bytesMax = 256

            func take(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
                guard values.count < Self.valuesMax, name.count <= Self.bytesMax, value.count <= Self.bytesMax else { return }
                let text = String(decoding: value, as: UTF8.self).unicodeScalars.filter { $0.value >= 32 && $0.value != 127 }
                values[String(decoding: name, as: UTF8.self)] = String(String.UnicodeScalarView(text))
            }
        }

        private func stored(_ code: memcached_return_t) throws(Failure) -> Stored {
            switch code {
            case MEMCACHED_SUCCESS: return .stored
            case MEMCACHED_DATA_EXISTS, MEMCACHED_NOTFOUND, MEMCACHED_NOTSTORED: return .overtaken
            case MEMCACHED_E2BIG: return .tooLarge
            // The server's word for it; a lack of memory of ours would be noted as an error beside it.
            case MEMCACHED_MEMORY_ALLOCATION_FAILURE where memcached_last_error(handle) == MEMCACHED_SUCCESS: return .full
            default: throw failure(code)
            }
        }

        private func failure(_ code: memcached_return_t) -> Failure {
            let number = memcached_last_error_errno(handle)
            switch code {
            case MEMCACHED_TIMEOUT: return Failure(kind: .timedOut)
            case MEMCACHED_MEMORY_ALLOCATION_FAILURE: return Failure(kind: .tooLarge)
            case MEMCACHED_UNKNOWN_READ_FAILURE, MEMCACHED_PROTOCOL_ERROR, MEMCACHED_PARTIAL_READ: return Failure(kind: .unsound)
            case MEMCACHED_HOST_LOOKUP_FAILURE: return Failure(kind: .lost("its host name has no address"))
            // What the library says of a first attempt that failed, too; then without the system's error.
            case MEMCACHED_SERVER_TEMPORARILY_DISABLED, MEMCACHED_SERVER_MARKED_DEAD:
                return Failure(kind: .lost("nothing accepts connections"))
            default: return Failure(kind: [0, EPIPE, ECONNRESET].contains(number) ? .closed : .lost(String(cString: strerror(number))))
            }
        }

        private func withKeys<Answer>(
            _ keys: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int>?) -> Answer
        ) -> Answer {
            let bytes = keys.flatMap { $0.utf8.map(CChar.init(bitPattern:)) }
            let lengths = keys.map(\.utf8.count)
            return bytes.withUnsafeBufferPointer { bytes in
                var pointers: [UnsafePointer<CChar>?] = []
                var offset = 0
                for length in lengths {
                    pointers.append(bytes.baseAddress.map { $0 + offset })
                    offset += length
                }
                return body(pointers, lengths)
            }
        }

        private func with(
            _ key: String, _ value: [UInt8], _ body: (UnsafePointer<CChar>, Int, UnsafePointer<CChar>?, Int) -> memcached_return_t
        ) -> memcached_return_t {
            value.withUnsafeBytes { value in
                value.withMemoryRebound(to: CChar.self) { body(key, key.utf8.count, $0.baseAddress, $0.count) }
            }
        }
    }

    /// Which of several servers has a key, as libketama would have it: most keys keep their server when one is added or taken away.
    final class MemcachedRouter {
        private let handle: UnsafeMutablePointer<memcached_st>
        private let count: Int

        /// It never connects. Nil when there is no memory for it.
        init?(_ servers: [HostAndPort]) {
            guard let handle = memcached_create(nil) else { return nil }
            self.handle = handle
            count = servers.count
            memcached_behavior_set(handle, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1)
            for server in servers {
                guard memcached_server_add(handle, server.host, in_port_t(server.port)) == MEMCACHED_SUCCESS else { return nil }
            }
        }

        deinit { memcached_free(handle) }

        /// The index of the server.
        func server(of key: String) -> Int { Int(memcached_generate_hash(handle, key, key.utf8.count)) % count }
    }

    extension TimeAmount {
        /// Milliseconds, one at least: zero would mean not to wait at all.
        fileprivate var behavior: UInt64 { UInt64(clamping: max(1, nanoseconds / 1_000_000)) }
    }
#endif
