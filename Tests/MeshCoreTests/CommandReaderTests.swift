import Testing

@testable import MeshCore

@Suite struct CommandReaderTests {
    typealias Answer = Result<ClientCommand, ClientFailure>

    /// What comes of `bytes` in pieces of `step`, and the error at the end, if there is one.
    static func read(_ bytes: [UInt8], step: Int = .max) -> (answers: [Answer], error: RESPError?) {
        var reader = CommandReader()
        var answers: [Answer] = []
        var rest = bytes[...]
        do throws(RESPError) {
            while !rest.isEmpty {
                reader.append(Array(rest.prefix(step)))
                rest = rest.dropFirst(step)
                while let answer = try reader.next() { answers.append(answer) }
            }
            return (answers, nil)
        } catch {
            return (answers, error)
        }
    }

    static func read(_ text: String) -> (answers: [Answer], error: RESPError?) { read(Array(text.utf8)) }

    /// The same by the general parser.
    static func parsed(_ bytes: [UInt8]) -> (answers: [Answer], error: RESPError?) {
        var parser = RESPParser(limits: .commands)
        parser.append(bytes)
        var answers: [Answer] = []
        do throws(RESPError) {
            while let value = try parser.next() {
                do throws(ClientFailure) { answers.append(.success(try ClientProtocol.decode(value))) } catch {
                    answers.append(.failure(error))
                }
            }
            return (answers, nil)
        } catch {
            return (answers, error)
        }
    }

    static func samples() throws -> [[UInt8]] {
        let key = try ClientProtocolTests.key(0xAB)
        let commit = SessionCommit(
            key: key, id: ClientProtocolTests.id, changes: [.set("a", [0, 13, 10]), .set("b", []), .remove("c"), .increment("n", by: -7)],
            user: "ann", idleSeconds: 60, regenerate: true)
        let commands: [ClientCommand] = [
            .hello, .authenticate(token: [1, 2]), .request(.ping), .request(.open(cookie: [97, 255])), .request(.read(key)),
            .request(.commit(commit)), .request(.destroy(key, commit.id)), .request(.publish(channel: "c", payload: [1])),
            .request(.subscribe(channel: "räume")), .request(.members), .request(.placement(Slot(masking: 7))),
            .request(.register(service: "web", address: "127.0.0.1:80", weight: 1, cookieName: "sid")),
        ]
        let refused = ["*1\r\n$5\r\nDANCE\r\n", "*2\r\n$4\r\nPING\r\n$0\r\n\r\n", "*2\r\n$12\r\nsession.read\r\n$3\r\nabc\r\n"]
        return commands.map { ClientProtocol.encode($0).bytes } + refused.map { Array($0.utf8) }
    }

    @Test func commandsComeInPiecesOfAnySizeAndBackToBack() throws {
        let bytes = try Self.samples().flatMap(\.self)
        let expected = Self.parsed(bytes)
        #expect(expected.answers.count == (try Self.samples().count))
        for step in [1, 2, 3, 7, 16, 100, .max] {
            let read = Self.read(bytes, step: step)
            #expect(read.answers == expected.answers)
            #expect(read.error == nil)
        }
    }

    @Test func nothingIsKeptOfWhatIsRead() throws {
        var reader = CommandReader()
        for _ in 0..<2000 {
            for sample in try Self.samples() {
                reader.append(sample)
                #expect(try reader.next() != nil)
            }
        }
        #expect(try reader.next() == nil)
        #expect(reader.bufferedBytes == 0)
    }

    @Test(arguments: [
        "PING\r\n", "POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "+OK\r\n", "$4\r\nPING\r\n", "*1\r\n:1\r\n", "*1\r\n*1\r\n$1\r\nx\r\n",
        "*0\r\n",
        "\r\n", "\u{16}\u{3}\u{1}",
    ]) func anythingButArraysOfBulkStringsIsNoCommand(_ text: String) {
        #expect(Self.read(text).error == .notACommand)
    }

    @Test func aBrowserIsRefusedAtItsFirstByte() {
        var reader = CommandReader()
        reader.append(Array("P".utf8))
        #expect(throws: RESPError.notACommand) { try reader.next() }
        reader.append(Array("*1\r\n$4\r\nPING\r\n".utf8))
        #expect(throws: RESPError.notACommand) { try reader.next() }
        #expect(reader.bufferedBytes == 0)
    }

    @Test(arguments: [
        ("*\r\n", RESPError.malformedNumber), ("*-1\r\n", .malformedNumber), ("*01\r\n", .malformedNumber), ("*1x\r\n", .malformedNumber),
        ("*12345678901", .malformedNumber), ("*1\n", .malformedNumber), ("*1\rx", .malformedEnd), ("*1\r\n$1\r\nxy\r\n", .malformedEnd),
        ("*1\r\n$1\r\nx\n\n", .malformedEnd), ("*1025\r\n", .tooManyElements), ("*1\r\n$262144\r\n", .messageTooLarge),
    ]) func malformedBytesAreNamed(_ text: String, _ error: RESPError) {
        #expect(Self.read(text).error == error)
    }

    /// Where the general parser goes on, so does this; where it stops, this does too, with the same commands before.
    @Test(arguments: 0..<40) func itReadsWhatTheGeneralParserReads(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            var bytes = try Self.samples().shuffled(using: &generator).prefix(3).flatMap(\.self)
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = "0123456789\r\n*$x".utf8.randomElement(using: &generator) ?? 0
            }
            let (read, parsed) = (Self.read(bytes, step: Int.random(in: 1...40, using: &generator)), Self.parsed(bytes))
            #expect(read.answers == parsed.answers)
            #expect(parsed.error == nil || read.error != nil)
        }
    }
}
