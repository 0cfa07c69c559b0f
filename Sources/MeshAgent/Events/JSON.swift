/// A JSON value on its way out (RFC 8259). Keys stay in the order they were written, so that a line reads the same every time.
public indirect enum JSON: Hashable, Sendable {
    case null
    case bool(Bool)
    case number(Int64)
    case text(String)
    case array([JSON])
    case object([Pair])

    public struct Pair: Hashable, Sendable {
        public var key: String
        public var value: JSON

        public init(_ key: String, _ value: JSON) {
            self.key = key
            self.value = value
        }
    }

    /// Above 2^53 many readers would round it, so a large number becomes text.
    public static func number(_ value: UInt64) -> JSON {
        value < 1 << 53 ? .number(Int64(value)) : .text(String(value))
    }

    public static func number(_ value: Int) -> JSON { .number(Int64(value)) }

    /// An object of those pairs that have a value.
    public static func object(_ pairs: [(String, JSON?)]) -> JSON {
        .object(pairs.compactMap { key, value in value.map { Pair(key, $0) } })
    }

    /// Without a line end anywhere, so that a value is one line.
    public var line: String {
        var text: [UInt8] = []
        write(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    private func write(to text: inout [UInt8]) {
        switch self {
        case .null: text += "null".utf8
        case .bool(let value): text += (value ? "true" : "false").utf8
        case .number(let value): text += String(value).utf8
        case .text(let value): Self.write(value, to: &text)
        case .array(let values):
            Self.write(values, between: "[", "]", to: &text) { $0.write(to: &$1) }
        case .object(let pairs):
            Self.write(pairs, between: "{", "}", to: &text) { pair, text in
                Self.write(pair.key, to: &text)
                text.append(UInt8(ascii: ":"))
                pair.value.write(to: &text)
            }
        }
    }

    private static func write<Element>(
        _ elements: [Element], between opening: Unicode.Scalar, _ closing: Unicode.Scalar, to text: inout [UInt8],
        _ write: (Element, inout [UInt8]) -> Void
    ) {
        text.append(UInt8(ascii: opening))
        for (index, element) in elements.enumerated() {
            if index > 0 { text.append(UInt8(ascii: ",")) }
            write(element, &text)
        }
        text.append(UInt8(ascii: closing))
    }

    private static func write(_ string: String, to text: inout [UInt8]) {
        text.append(UInt8(ascii: "\""))
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
            case UInt8(ascii: "\n"): text += "\\n".utf8
            case 0..<0x20, 0x7F: text += "\\u00\(String(byte >> 4, radix: 16))\(String(byte & 15, radix: 16))".utf8
            default: text.append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }
}
