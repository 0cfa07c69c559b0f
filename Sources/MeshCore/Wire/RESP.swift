/// One value of RESP3, the framing that the client protocol borrows from Redis.
///
/// Maps keep the order in which they were written, so that an encoding is one fixed byte string.
/// Source: the RESP3 specification, https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md.
public enum RESPValue: Hashable, Sendable {
    /// `+text`: one line.
    case simple(String)
    /// `-CODE text`: one line.
    case error(String)
    case integer(Int64)
    /// `$length`: any bytes.
    case bulk([UInt8])
    case null
    case array([RESPValue])
    case map([RESPEntry])
    /// Unasked for: may stand between any two replies.
    case push([RESPValue])
    case boolean(Bool)
    case double(Double)

    public static func text(_ text: some StringProtocol) -> RESPValue { .bulk(Array(text.utf8)) }

    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    public func append(to bytes: inout [UInt8]) { bytes.appendRESP { write(to: &$0) } }

    private func write(to writer: inout RESPWriter) {
        switch self {
        case .simple(let text): writer.add("+", line: text)
        case .error(let text): writer.add("-", line: text)
        case .integer(let value): writer.add(integer: value)
        case .null: writer.addNull()
        case .boolean(let value): writer.add(boolean: value)
        case .double(let value): writer.add(",", line: String(value))
        case .bulk(let payload): writer.add(bulk: payload)
        case .array(let values):
            writer.add(array: values.count)
            for value in values { value.write(to: &writer) }
        case .push(let values):
            writer.add(push: values.count)
            for value in values { value.write(to: &writer) }
        case .map(let entries):
            writer.add(map: entries.count)
            for entry in entries {
                entry.key.write(to: &writer)
                entry.value.write(to: &writer)
            }
        }
    }
}

/// One key of a RESP3 map, and its value.
public struct RESPEntry: Hashable, Sendable {
    public var key: RESPValue
    public var value: RESPValue

    public init(_ key: RESPValue, _ value: RESPValue) {
        self.key = key
        self.value = value
    }

    public init(_ key: some StringProtocol, _ value: RESPValue) {
        self.init(.text(key), value)
    }
}

/// What a reader of RESP accepts. Everything beyond it ends the connection.
public struct RESPLimits: Hashable, Sendable {
    /// Bytes of one whole value, framing included.
    public var messageBytesMax: Int
    /// Values of one whole value, at all depths.
    public var elementsMax: Int
    /// How deep arrays, maps and pushes may nest.
    public var depthMax: Int
    /// Bytes of one line: a number, a simple string, an error.
    public var lineBytesMax: Int
    /// Whether only commands are accepted: one array of bulk strings. An inline command, or a browser's `POST`, is an error at its first byte.
    public var commandsOnly: Bool

    /// What an agent accepts from an application. The longest legal command, a commit of a full session, is about 90 KiB.
    public static let commands = RESPLimits(messageBytesMax: 256 * 1024, elementsMax: 1025, depthMax: 1, commandsOnly: true)
    /// What an application accepts from its agent. A view of 5000 members is about 2 MiB.
    public static let replies = RESPLimits(messageBytesMax: 4 * 1024 * 1024, elementsMax: 256 * 1024, depthMax: 8)

    public init(messageBytesMax: Int, elementsMax: Int, depthMax: Int = 8, lineBytesMax: Int = 1024, commandsOnly: Bool = false) {
        self.messageBytesMax = messageBytesMax
        self.elementsMax = elementsMax
        self.depthMax = depthMax
        self.lineBytesMax = lineBytesMax
        self.commandsOnly = commandsOnly
    }
}

/// Why bytes are not RESP as it is accepted here. The connection can't be used any further.
public enum RESPError: Error, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    /// Not an array of bulk strings: an inline command, HTTP, or another protocol altogether.
    case notACommand
    case messageTooLarge
    case tooManyElements
    case nestedTooDeeply
    case lineTooLong
    case unknownType
    case malformedNumber
    case malformedText
    /// A bulk string or line without CR LF where its length says that it ends.
    case malformedEnd

    public var description: String {
        switch self {
        case .notACommand: "not a command: send an array of bulk strings"
        case .messageTooLarge: "the message is longer than is accepted here"
        case .tooManyElements: "the message has more elements than are accepted here"
        case .nestedTooDeeply: "the message nests deeper than is accepted here"
        case .lineTooLong: "a line is longer than is accepted here"
        case .unknownType: "a value begins with a byte that names no type of RESP3"
        case .malformedNumber: "a number or length is malformed"
        case .malformedText: "a line is not UTF-8"
        case .malformedEnd: "a value does not end in CR LF"
        }
    }
}

/// Reads RESP3 values from bytes that arrive in pieces of any size.
///
/// Each byte is looked at once. Lengths and counts are checked against ``RESPLimits`` before anything is kept for them, and against
/// what the rest of the message could hold. The first error is final.
public struct RESPParser: Sendable {
    public let limits: RESPLimits

    private var buffer: [UInt8] = []
    /// Everything before it is parsed.
    private var position = 0
    /// Where the search for a line's end goes on.
    private var searched = 0
    /// The bulk string whose length is known and whose bytes are awaited.
    private var awaitedBulk: Int?
    private var open: [Aggregate] = []
    private var elements = 0
    private var messageBytes = 0
    private var failure: RESPError?

    private struct Aggregate {
        var kind: UInt8
        var remaining: Int
        var values: [RESPValue] = []
    }

    public init(limits: RESPLimits) {
        self.limits = limits
    }

    /// Bytes kept for a value that is not complete. Never more than one message and the piece that was added last.
    public var bufferedBytes: Int { buffer.count - position }

    public mutating func append(_ bytes: some Sequence<UInt8>) {
        guard failure == nil else { return }
        if position == buffer.count {
            buffer.removeAll(keepingCapacity: true)
            searched = 0
            position = 0
        } else if position > 64 * 1024 {
            buffer.removeFirst(position)
            searched -= position
            position = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// The next whole value, or nil when more bytes are needed.
    public mutating func next() throws(RESPError) -> RESPValue? {
        if let failure { throw failure }
        do {
            return try parse()
        } catch {
            failure = error
            buffer = []
            open = []
            throw error
        }
    }

    private mutating func parse() throws(RESPError) -> RESPValue? {
        while true {
            guard var value = try parseScalarOrOpen() else { return nil }
            // An aggregate whose last element this is becomes a value itself, and so on upwards.
            while var top = open.popLast() {
                top.values.append(value)
                top.remaining -= 1
                guard top.remaining == 0 else {
                    open.append(top)
                    break
                }
                value = Self.value(of: top)
            }
            guard open.isEmpty else { continue }
            elements = 0
            messageBytes = 0
            return value
        }
    }

    /// The next value that is complete in itself; opens aggregates on the way. Nil when more bytes are needed.
    private mutating func parseScalarOrOpen() throws(RESPError) -> RESPValue? {
        while true {
            if let length = awaitedBulk {
                guard bufferedBytes >= length + 2 else { return nil }
                guard buffer[position + length] == 0x0D, buffer[position + length + 1] == 0x0A else { throw .malformedEnd }
                let payload = Array(buffer[position..<position + length])
                advance(by: length + 2)
                awaitedBulk = nil
                return .bulk(payload)
            }
            guard position < buffer.count else { return nil }
            let kind = buffer[position]
            try checkKind(kind)
            guard let line = try nextLine() else { return nil }
            elements += 1
            guard elements <= limits.elementsMax else { throw .tooManyElements }
            switch kind {
            case UInt8(ascii: "$"):
                let length = try Self.length(line)
                guard length + 2 <= limits.messageBytesMax - messageBytes else { throw .messageTooLarge }
                awaitedBulk = length
            case UInt8(ascii: "*"), UInt8(ascii: ">"), UInt8(ascii: "%"):
                let count = try Self.length(line)
                let (values, overflow) = count.multipliedReportingOverflow(by: kind == UInt8(ascii: "%") ? 2 : 1)
                guard !overflow, values <= limits.elementsMax - elements else { throw .tooManyElements }
                // The shortest value, null, takes three bytes.
                guard values <= (limits.messageBytesMax - messageBytes) / 3 else { throw .messageTooLarge }
                guard open.count < limits.depthMax else { throw .nestedTooDeeply }
                let aggregate = Aggregate(kind: kind, remaining: values)
                if values == 0 {
                    if limits.commandsOnly { throw .notACommand }
                    return Self.value(of: aggregate)
                }
                open.append(aggregate)
            default:
                return try Self.scalar(kind, line)
            }
        }
    }

    private func checkKind(_ kind: UInt8) throws(RESPError) {
        if limits.commandsOnly {
            guard kind == (open.isEmpty ? UInt8(ascii: "*") : UInt8(ascii: "$")) else { throw .notACommand }
        } else {
            guard "+-:$_*%>#,".utf8.contains(kind) else { throw .unknownType }
        }
    }

    /// The line behind the type byte, without its end.
    private mutating func nextLine() throws(RESPError) -> ArraySlice<UInt8>? {
        searched = max(searched, position + 1)
        while searched < buffer.count, buffer[searched] != 0x0A { searched += 1 }
        guard searched - position <= limits.lineBytesMax else { throw .lineTooLong }
        guard searched < buffer.count else { return nil }
        guard searched - position >= 2, buffer[searched - 1] == 0x0D else { throw .malformedEnd }
        let line = buffer[position + 1..<searched - 1]
        advance(by: searched + 1 - position)
        guard messageBytes <= limits.messageBytesMax else { throw .messageTooLarge }
        return line
    }

    private mutating func advance(by count: Int) {
        position += count
        messageBytes += count
    }

    private static func value(of aggregate: Aggregate) -> RESPValue {
        switch aggregate.kind {
        case UInt8(ascii: "*"): .array(aggregate.values)
        case UInt8(ascii: ">"): .push(aggregate.values)
        default:
            .map(
                stride(from: 0, to: aggregate.values.count, by: 2).map {
                    RESPEntry(aggregate.values[$0], aggregate.values[$0 + 1])
                })
        }
    }

    private static func scalar(_ kind: UInt8, _ line: ArraySlice<UInt8>) throws(RESPError) -> RESPValue {
        guard !line.contains(0x0D) else { throw .malformedEnd }
        guard let text = String(validating: line, as: UTF8.self) else { throw .malformedText }
        switch kind {
        case UInt8(ascii: "+"): return .simple(text)
        case UInt8(ascii: "-"): return .error(text)
        case UInt8(ascii: ":"):
            // "+1" and "-0" are numbers to Swift, but no writer of RESP sends them.
            guard let value = Int64(text), String(value) == text else { throw .malformedNumber }
            return .integer(value)
        case UInt8(ascii: "#") where text == "t": return .boolean(true)
        case UInt8(ascii: "#") where text == "f": return .boolean(false)
        case UInt8(ascii: ","): return .double(try double(text))
        case UInt8(ascii: "_") where text.isEmpty: return .null
        default: throw .malformedNumber
        }
    }

    private static func double(_ text: String) throws(RESPError) -> Double {
        switch text {
        case "inf": return .infinity
        case "-inf": return -.infinity
        case "nan": return .nan
        default:
            // Swift would also read hexadecimal.
            guard text.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }), let value = Double(text), value.isFinite else {
                throw .malformedNumber
            }
            return value
        }
    }

    /// A length or count in decimal, without sign or leading zeros.
    private static func length(_ line: ArraySlice<UInt8>) throws(RESPError) -> Int {
        guard !line.isEmpty, line.count <= 10, line.count == 1 || line.first != UInt8(ascii: "0") else { throw .malformedNumber }
        var value = 0
        for digit in line {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { throw .malformedNumber }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return value
    }
}
