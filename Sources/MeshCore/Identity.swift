/// The name an operator gives a node. Placement ranks names, so a node that comes back under its old name gets its old slots.
public struct NodeName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 1 to 64 characters of `[A-Za-z0-9._-]`.
    public let description: String
    /// The first eight bytes, the first of them highest; zeros behind a shorter name. Views are searched by name all the time, and most names
    /// are told apart, and put in order, by this number alone.
    private let head: UInt64

    public static let bytesMax = 64

    /// - Throws: ``InvalidName`` when the text is empty, too long, or has another character.
    public init(_ text: some StringProtocol) throws(InvalidName) {
        guard text.utf8.allSatisfy(Self.isAllowed), !text.isEmpty, text.utf8.count <= Self.bytesMax else {
            throw InvalidName(text: String(text.prefix(80)))
        }
        description = String(text)
        head = Self.head(of: text.utf8)
    }

    /// Nil for bytes that no name has.
    init?(bytes: ArraySlice<UInt8>) {
        guard (1...Self.bytesMax).contains(bytes.count), bytes.allSatisfy(Self.isAllowed) else { return nil }
        description = String(decoding: bytes, as: UTF8.self)
        head = Self.head(of: bytes)
    }

    private static func head(of bytes: some Sequence<UInt8>) -> UInt64 {
        var head: UInt64 = 0
        var count: UInt64 = 0
        for byte in bytes.prefix(8) {
            head |= UInt64(byte) << (56 - 8 * count)
            count += 1
        }
        return head
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// A zero is in no name: where one ends the head, the head is all of it.
    private var isAllInHead: Bool { head & 0xFF == 0 }

    public static func == (lhs: NodeName, rhs: NodeName) -> Bool {
        lhs.head == rhs.head && (lhs.isAllInHead || lhs.description == rhs.description)
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(head)
        if !isAllInHead { hasher.combine(description) }
    }

    /// By their bytes.
    public static func < (lhs: NodeName, rhs: NodeName) -> Bool {
        if lhs.head != rhs.head { return lhs.head < rhs.head }
        return !lhs.isAllInHead && lhs.description < rhs.description
    }

    public struct InvalidName: Error, Hashable, CustomStringConvertible {
        public let text: String
        public var description: String {
            "node name \"\(text)\" is not 1 to \(NodeName.bytesMax) characters of A-Z a-z 0-9 . _ -"
        }
    }
}

/// One run of an agent: wall-clock milliseconds at start in the upper 48 bits, chance in the lower 16.
///
/// A later run of the same name has the greater life, and anything said about an older life is about somebody who is gone.
public struct Life: RawRepresentable, Hashable, Comparable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    public init(startedAt wall: Int64, salt: UInt16) {
        rawValue = UInt64(max(0, wall)) << 16 | UInt64(salt)
    }

    public static func < (lhs: Life, rhs: Life) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// A member as one run of it: the name and the life.
public struct MemberID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let name: NodeName
    public let life: Life

    public init(name: NodeName, life: Life) {
        self.name = name
        self.life = life
    }

    public var description: String { "\(name)/\(String(life.rawValue, radix: 16))" }

    public static func < (lhs: MemberID, rhs: MemberID) -> Bool { (lhs.name, lhs.life) < (rhs.name, rhs.life) }
}

/// An IP address and a port. UDP gossip and TCP peer links of a member share one endpoint.
///
/// Held without an array: a large mesh keeps millions of them, and copies one with each packet.
public struct Endpoint: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The address's bytes from the left, in network order.
    fileprivate let high: UInt64
    fileprivate let low: UInt64
    fileprivate let isV6: Bool
    public let port: UInt16

    /// Nil when `address` has neither 4 nor 16 bytes.
    public init?(address: some Collection<UInt8>, port: UInt16) {
        guard address.count == 4 || address.count == 16 else { return nil }
        isV6 = address.count == 16
        let first = address.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        high = isV6 ? first : first << 32
        low = address.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
        self.port = port
    }

    public static func loopback(port: UInt16) -> Endpoint {
        Endpoint(v4: 0x7F00_0001, port: port)
    }

    private init(v4: UInt32, port: UInt16) {
        high = UInt64(v4) << 32
        low = 0
        isV6 = false
        self.port = port
    }

    /// Four bytes (IPv4) or sixteen (IPv6), in network order.
    public var address: [UInt8] {
        (0..<(isV6 ? 16 : 4)).map { UInt8(truncatingIfNeeded: ($0 < 8 ? high : low) >> UInt64(56 - $0 % 8 * 8)) }
    }

    /// `127.0.0.1:7946` or `[fe80:0:0:0:0:0:0:1]:7946`.
    public var description: String { "\(host.contains(":") ? "[\(host)]" : host):\(port)" }

    /// The address alone, as text without brackets.
    public var host: String {
        let address = address
        guard isV6 else { return address.map(String.init).joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2)
            .map { String(UInt16(address[$0]) << 8 | UInt16(address[$0 + 1]), radix: 16) }
            .joined(separator: ":")
    }

    public static func < (lhs: Endpoint, rhs: Endpoint) -> Bool {
        (lhs.high, lhs.low, lhs.isV6 ? 1 : 0, lhs.port) < (rhs.high, rhs.low, rhs.isV6 ? 1 : 0, rhs.port)
    }
}

extension ByteWriter {
    public mutating func write(_ endpoint: Endpoint) {
        if endpoint.isV6 {
            write(16 as UInt8)
            write(endpoint.high)
            write(endpoint.low)
        } else {
            write(4 as UInt8)
            write(UInt32(endpoint.high >> 32))
        }
        write(endpoint.port)
    }
}
