#if Redis
    import MeshCore
    import NIOCore
    import Testing

    @testable import MeshMirrors

    @Suite struct RedisReplyReaderTests {
        /// All replies in `bytes`, fed in pieces of `size`.
        private func replies(_ bytes: [UInt8], inPiecesOf size: Int) throws -> [RedisReply] {
            guard var reader = RedisReplyReader() else { throw ServerFailure(description: "no reader") }
            var replies: [RedisReply] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                try reader.feed(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)]))
                while let reply = try reader.next() { replies.append(reply) }
            }
            return replies
        }

        @Test func repliesAreReadHoweverTheirBytesArriveInPieces() throws {
            let bytes = Array("+OK\r\n-ERR no\r\n:-42\r\n$-1\r\n$4\r\n\0\u{1}\r\n\r\n*3\r\n:1\r\n*1\r\n$0\r\n\r\n*-1\r\n".utf8)
            let expected: [RedisReply] = [
                .status("OK"), .error("ERR no"), .integer(-42), .null, .bytes([0, 1, 13, 10]),
                .array([.integer(1), .array([.bytes([])]), .null]),
            ]
            for size in 1...bytes.count { #expect(try replies(bytes, inPiecesOf: size) == expected) }
        }

        @Test func arraysAboveTheBoundAreRefusedBeforeMemoryIsTakenForThem() throws {
            for text in ["*2147483647\r\n", "*100000000\r\n", "*1\r\n*1\r\n*2057\r\n", "*2057\r\n"] {
                #expect(throws: RedisReplyReader.Failure.tooLarge) { try replies(Array(text.utf8), inPiecesOf: 64) }
            }
            #expect(try replies(Array("*2056\r\n".utf8), inPiecesOf: 64).isEmpty)
        }

        @Test func aReplyAboveTheByteBoundIsRefusedAndManySmallOnesAreNot() throws {
            let half = [UInt8](repeating: 7, count: RedisReplyReader.replyBytesMax / 2)
            let fits = Array("$\(half.count)\r\n".utf8) + half + Array("\r\n".utf8)
            #expect(try replies(fits + fits + fits + fits, inPiecesOf: 65536).count == 4)
            let tooLarge = Array("$\(4 * half.count)\r\n".utf8) + half + half + half
            #expect(throws: RedisReplyReader.Failure.tooLarge) { try replies(tooLarge, inPiecesOf: 65536) }
        }

        @Test func whatIsNotRedisIsRefused() {
            for text in [
                "HTTP/1.1 400 Bad Request\r\n\r\n", "%1\r\n+a\r\n+b\r\n", "$-5\r\n", "*-7\r\n", "$99999999999999999999\r\n",
                "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "\0\0\0\0",
            ] {
                #expect(throws: RedisReplyReader.Failure.self, "\(text)") { try replies(Array(text.utf8), inPiecesOf: 4096) }
            }
        }

        @Test func junkNeverTraps() {
            var generator = SystemRandomNumberGenerator()
            let alphabet = Array("*$:+-0123456789\r\n\r\n\r\nx".utf8)
            for _ in 0..<3000 {
                let junk = (0..<Int.random(in: 0...80, using: &generator)).map { _ in
                    alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
                }
                _ = try? replies(junk, inPiecesOf: Int.random(in: 1...81, using: &generator))
            }
        }

        @Test func aCommandIsWrittenWithItsLengths() {
            var command = RedisCommand("HSET")
            command.append([0, 1, 255, 10, 13])
            command.append([1], then: [2, 3])
            command.append([])
            var buffer = ByteBuffer()
            #expect(command.write(to: &buffer))
            let expected =
                Array("*4\r\n$4\r\nHSET\r\n$5\r\n".utf8) + [0, 1, 255, 10, 13] + Array("\r\n$3\r\n".utf8) + [1, 2, 3]
                + Array("\r\n$0\r\n\r\n".utf8)
            #expect(Array(buffer.readableBytesView) == expected)
        }

        @Test func anErrorReplyIsToldInOneShortLineWithoutWhatWasSent() {
            #expect(RedisErrorReply("LOADING Redis is loading the dataset in memory").code == .unreachable)
            #expect(RedisErrorReply("OOM command not allowed").code == .refused)
            #expect(RedisErrorReply("WRONGTYPE Operation against a key").code == .foreignData)
            // As told before version 7.
            let readOnly = RedisErrorReply(
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. "
            )
            #expect(readOnly.error.description.contains("name its master"))
            let unknown = RedisErrorReply("ERR unknown command 'EVALSHA', with args beginning with: 'aa' 'secret'")
            #expect(unknown.words == "ERR unknown command 'EVALSHA'")
            #expect(RedisErrorReply.oneLine("a\r\nb\u{1B}[31m" + String(repeating: "x", count: 1000)).unicodeScalars.count == 160)
            #expect(!RedisErrorReply.oneLine("a\r\nb").contains { $0.isNewline })
        }
    }
#endif
