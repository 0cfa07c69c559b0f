import MeshCore
import Testing

@Suite struct RESPTests {
    static let values: [RESPValue] = [
        .simple("OK"), .simple(""), .error("UNAVAILABLE try again"), .integer(0), .integer(.min), .integer(.max), .bulk([]),
        .bulk([0, 13, 10, 255]), .null, .array([]), .array([.integer(1), .array([.null, .text("x")])]), .map([]),
        .map([RESPEntry("a", .integer(1)), RESPEntry(.integer(2), .map([RESPEntry("b", .boolean(true))]))]),
        .push([.text("message"), .bulk([7])]), .boolean(false), .double(1.5), .double(-1e300), .double(.infinity), .double(-.infinity),
        .array([.array([]), .map([]), .array([.array([])])]),
    ]

    static func parse(_ bytes: [UInt8], limits: RESPLimits = .replies) throws -> [RESPValue] {
        var parser = RESPParser(limits: limits)
        parser.append(bytes)
        var values: [RESPValue] = []
        while let value = try parser.next() { values.append(value) }
        return values
    }

    static func parse(_ text: String, limits: RESPLimits = .replies) throws -> [RESPValue] { try parse(Array(text.utf8), limits: limits) }

    @Test(arguments: values) func whatIsWrittenIsRead(_ value: RESPValue) throws {
        #expect(try Self.parse(value.bytes) == [value])
    }

    @Test func valuesArriveByteByByteAndBackToBack() throws {
        let bytes = Self.values.flatMap(\.bytes)
        var parser = RESPParser(limits: .replies)
        var read: [RESPValue] = []
        for byte in bytes {
            parser.append([byte])
            while let value = try parser.next() { read.append(value) }
        }
        #expect(read == Self.values)
        #expect(parser.bufferedBytes == 0)
        #expect(try Self.parse(bytes) == Self.values)
    }

    @Test func aLineEndInALineCanNotForgeAValue() throws {
        #expect(try Self.parse(RESPValue.error("INVALID a\r\n+OK").bytes) == [.error("INVALID a  +OK")])
    }

    @Test(arguments: [
        "PING\r\n", "POST / HTTP/1.1\r\n", "Host: localhost\r\n", "GET / HTTP/1.1\r\n", "+OK\r\n", "$4\r\nPING\r\n", "*1\r\n:1\r\n",
        "*1\r\n*1\r\n$1\r\nx\r\n", "*0\r\n", "\r\n", "\u{16}\u{3}\u{1}",
    ]) func anAgentReadsNothingButArraysOfBulkStrings(_ text: String) {
        #expect(throws: RESPError.notACommand) { try Self.parse(text, limits: .commands) }
    }

    @Test func aBrowserIsRefusedAtItsFirstByte() {
        var parser = RESPParser(limits: .commands)
        parser.append("P".utf8)
        #expect(throws: RESPError.notACommand) { try parser.next() }
        parser.append("*1\r\n$4\r\nPING\r\n".utf8)
        #expect(throws: RESPError.notACommand) { try parser.next() }
        #expect(parser.bufferedBytes == 0)
    }

    @Test(arguments: [
        (":+1\r\n", RESPError.malformedNumber), (":-0\r\n", .malformedNumber), (":9223372036854775808\r\n", .malformedNumber),
        (":\r\n", .malformedNumber), ("$-1\r\n", .malformedNumber), ("$01\r\nx\r\n", .malformedNumber), ("$\r\n", .malformedNumber),
        ("$99999999999\r\n", .malformedNumber), ("$9999999\r\n", .messageTooLarge), ("*9999999\r\n", .tooManyElements),
        ("%9999999999\r\n", .tooManyElements), ("$1\r\nxy\r\n", .malformedEnd), ("$1\r\nx\n\n", .malformedEnd), ("+OK\n", .malformedEnd),
        ("+a\rb\r\n", .malformedEnd), ("#x\r\n", .malformedNumber), ("_x\r\n", .malformedNumber), (",0x1p3\r\n", .malformedNumber),
        (",1e999\r\n", .malformedNumber), ("!5\r\nerror\r\n", .unknownType), ("hello", .unknownType), ("+\u{0}", .lineTooLong),
    ]) func malformedBytesAreNamed(_ text: String, _ error: RESPError) {
        let padding = error == .lineTooLong ? String(repeating: "x", count: 2000) : ""
        #expect(throws: error) { try Self.parse(text + padding) }
    }

    @Test func aLineOfInvalidTextIsRefused() {
        #expect(throws: RESPError.malformedText) { try Self.parse([UInt8(ascii: "+"), 0xC3, 0x28, 13, 10]) }
    }

    @Test func nestingIsBounded() throws {
        let eight = String(repeating: "*1\r\n", count: 8) + "_\r\n"
        #expect(try Self.parse(eight).count == 1)
        #expect(throws: RESPError.nestedTooDeeply) { try Self.parse("*1\r\n" + eight) }
    }

    @Test func countsAreCheckedBeforeTheElementsCome() throws {
        let limits = RESPLimits(messageBytesMax: 300, elementsMax: 64)
        #expect(throws: RESPError.tooManyElements) { try Self.parse("*64\r\n", limits: limits) }
        #expect(throws: RESPError.tooManyElements) {
            try Self.parse("*2\r\n*40\r\n" + String(repeating: "_\r\n", count: 40) + "*40\r\n", limits: limits)
        }
        #expect(throws: RESPError.messageTooLarge) {
            try Self.parse("*2\r\n$200\r\n" + String(repeating: "x", count: 200) + "\r\n$90\r\n", limits: limits)
        }
        #expect(throws: RESPError.messageTooLarge) {
            try Self.parse("*60\r\n", limits: RESPLimits(messageBytesMax: 100, elementsMax: 64))
        }
        #expect(throws: RESPError.tooManyElements) { try Self.parse("*1025\r\n", limits: .commands) }
    }

    @Test func limitsHoldForEachMessageAnew() throws {
        let limits = RESPLimits(messageBytesMax: 32, elementsMax: 4)
        let message = RESPValue.array([.integer(1), .text("0123456789")]).bytes
        #expect(try Self.parse(Array(repeatElement(message, count: 50).joined()), limits: limits).count == 50)
    }

    /// Random bytes, and valid messages with a few bytes changed: the parser answers with values or one error, and never traps.
    @Test(arguments: 0..<40) func junkNeverTraps(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for round in 0..<200 {
            var bytes: [UInt8]
            if round.isMultiple(of: 2) {
                bytes = (0..<Int.random(in: 1...64, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
                bytes.insert("*%>$:".utf8.randomElement(using: &generator) ?? 0, at: 0)
            } else {
                bytes = Self.values.shuffled(using: &generator).prefix(4).flatMap(\.bytes)
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    bytes[Int.random(in: 0..<bytes.count, using: &generator)] =
                        "0123456789\r\n*$%>_-x".utf8.randomElement(using: &generator) ?? 0
                }
            }
            for limits in [RESPLimits.replies, .commands] {
                var parser = RESPParser(limits: limits)
                var rest = bytes[...]
                parsing: while !rest.isEmpty {
                    let count = min(rest.count, Int.random(in: 1...9, using: &generator))
                    parser.append(rest.prefix(count))
                    rest = rest.dropFirst(count)
                    while true {
                        guard let value = try? parser.next() else { break }
                        if case .array = value { _ = try? ClientProtocol.decode(value) }
                        for kind in ClientRequest.Kind.allCases { _ = try? ClientProtocol.decode(value, to: kind) }
                    }
                }
            }
        }
    }
}
