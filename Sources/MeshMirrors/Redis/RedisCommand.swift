#if Redis
    import CHiredis
    import NIOCore

    /// One command for Redis: byte strings, the first of which is its name.
    struct RedisCommand {
        /// All arguments in one piece, so that one borrowed pointer serves hiredis for all of them.
        private var bytes: [UInt8] = []
        private var lengths: [Int] = []

        init(_ name: String) {
            // A session of a few fields.
            bytes.reserveCapacity(512)
            lengths.reserveCapacity(24)
            append(name.utf8)
        }

        mutating func append(_ argument: some Collection<UInt8>) {
            bytes.append(contentsOf: argument)
            lengths.append(argument.count)
        }

        /// One argument made of two parts.
        mutating func append(_ first: [UInt8], then second: [UInt8]) {
            bytes.append(contentsOf: first)
            bytes.append(contentsOf: second)
            lengths.append(first.count + second.count)
        }

        /// Writes the command as hiredis formats it. False when hiredis has no memory for it.
        func write(to buffer: inout ByteBuffer) -> Bool {
            var target: sds?
            let count = bytes.withUnsafeBufferPointer { bytes in
                bytes.withMemoryRebound(to: CChar.self) { bytes in
                    var offset = 0
                    // The name makes `bytes` non-empty; a nil base can't be.
                    var arguments: [UnsafePointer<CChar>?] = lengths.map { length in
                        defer { offset += length }
                        return bytes.baseAddress.map { $0 + offset }
                    }
                    return Int(redisFormatSdsCommandArgv(&target, Int32(lengths.count), &arguments, lengths))
                }
            }
            guard count > 0, let target else { return false }
            buffer.writeBytes(UnsafeRawBufferPointer(start: target, count: count))
            redisFreeSdsCommand(target)
            return true
        }
    }
#endif
