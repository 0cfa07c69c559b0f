#if Redis
    import CHiredis
    import NIOCore

    /// An answer of Redis, in RESP2's five types.
    enum RedisReply: Hashable, Sendable {
        case null
        case integer(Int64)
        case status(String)
        case error(String)
        case bytes([UInt8])
        case array([RedisReply])

        /// A number written as text, as scripts write those that may not fit their own.
        var number: UInt64? { if case .bytes(let text) = self { UInt64(String(decoding: text, as: UTF8.self)) } else { nil } }
    }

    /// Takes replies out of a stream of bytes, through hiredis' reader.
    ///
    /// The manual leaves sizes to the caller, so they are bounded here: hiredis takes memory for an array as soon as its header is read,
    /// and for a string when all of it has come. Nesting is hiredis' own limit (7). After a throw the stream has no more meaning and the
    /// connection must close.
    struct RedisReplyReader: ~Copyable {
        /// Why a stream can't be read any further.
        enum Failure: Error, Hashable {
            /// A reply above `replyBytesMax` or an array above `elementsMax`.
            case tooLarge
            /// Not RESP2, in hiredis' words.
            case malformed(String)

            /// In one line, of who answers.
            var reason: String {
                switch self {
                case .tooLarge: "redis' answer is larger than \(replyBytesMax) bytes or has too many parts"
                case .malformed(let words): "what answers is not redis: \(RedisErrorReply.oneLine(words))"
                }
            }
        }

        /// Most bytes of one reply: a record of the largest size, its framing and some room.
        static let replyBytesMax = 2 << 20
        /// Most elements of one array: a name and a value for each entry of a record, and some room.
        static let elementsMax: Int64 = 2 * 1024 + 8

        private let reader: UnsafeMutablePointer<redisReader>
        private let functions: UnsafeMutablePointer<redisReplyObjectFunctions>
        /// Bytes fed since the last whole reply.
        private var pendingBytes = 0

        /// Nil when there is no memory for it.
        init?() {
            guard let reader = redisReaderCreate(), let original = reader.pointee.fn else { return nil }
            // hiredis' own functions, with a check before arrays. They find the originals through the reader's private data.
            functions = .allocate(capacity: 1)
            functions.initialize(to: original.pointee)
            functions.pointee.createArray = { task, count in
                guard let task, Int64(count) <= RedisReplyReader.elementsMax, let original = task.pointee.privdata else { return nil }
                return original.assumingMemoryBound(to: redisReplyObjectFunctions.self).pointee.createArray(task, count)
            }
            reader.pointee.privdata = UnsafeMutableRawPointer(original)
            reader.pointee.fn = functions
            self.reader = reader
        }

        deinit {
            redisReaderFree(reader)
            functions.deinitialize(count: 1)
            functions.deallocate()
        }

        mutating func feed(_ buffer: ByteBuffer) throws(Failure) {
            pendingBytes += buffer.readableBytes
            let result = buffer.withUnsafeReadableBytes { bytes in
                bytes.withMemoryRebound(to: CChar.self) { redisReaderFeed(reader, $0.baseAddress, $0.count) }
            }
            guard result == REDIS_OK else { throw failure }
        }

        /// The next whole reply, nil when more bytes are needed.
        mutating func next() throws(Failure) -> RedisReply? {
            var object: UnsafeMutableRawPointer?
            guard redisReaderGetReply(reader, &object) == REDIS_OK else { throw failure }
            guard let object else {
                guard pendingBytes <= Self.replyBytesMax else { throw .tooLarge }
                return nil
            }
            defer { freeReplyObject(object) }
            pendingBytes = reader.pointee.len - reader.pointee.pos
            return Self.reply(object.assumingMemoryBound(to: redisReply.self))
        }

        private var failure: Failure {
            // A refused array reaches us as "out of memory"; the difference is of no use to anyone.
            if reader.pointee.err == REDIS_ERR_OOM { return .tooLarge }
            return .malformed(withUnsafeBytes(of: reader.pointee.errstr) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }

        private static func reply(_ object: UnsafePointer<redisReply>) -> RedisReply {
            let object = object.pointee
            var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: object.str, count: object.str == nil ? 0 : object.len) }
            switch object.type {
            case REDIS_REPLY_STRING: return .bytes(Array(bytes))
            case REDIS_REPLY_STATUS: return .status(String(decoding: bytes, as: UTF8.self))
            case REDIS_REPLY_ERROR: return .error(String(decoding: bytes, as: UTF8.self))
            case REDIS_REPLY_INTEGER: return .integer(object.integer)
            case REDIS_REPLY_ARRAY:
                return .array(
                    (0..<Int(object.elements)).map { index in
                        object.element?[index].map { reply($0) } ?? .null
                    })
            default: return .null
            }
        }
    }
#endif
