/// The name an operator gives a node. Placement ranks names, so a node that comes back under its old name gets its old slots.
public struct NodeName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 1 to 64 characters of `[A-Za-z0-9._-]`.
    public let description: String

    public static let bytesMax = 64

    /// - Throws: ``InvalidName`` when the text is empty, too long, or has another character.
    public init(_ text: some StringProtocol) throws(InvalidName) {
        let allowed = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard allowed, !text.isEmpty, text.utf8.count <= Self.bytesMax else {
            throw InvalidName(text: String(text.prefix(80)))
        }
        description = String(text)
    }

    public static func < (lhs: NodeName, rhs: NodeName) -> Bool { lhs.description < rhs.description }

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
public struct Endpoint: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Four bytes (IPv4) or sixteen (IPv6), in network order.
    public let address: [UInt8]
    public let port: UInt16

    /// Nil when `address` has neither 4 nor 16 bytes.
    public init?(address: [UInt8], port: UInt16) {
        guard address.count == 4 || address.count == 16 else { return nil }
        self.address = address
        self.port = port
    }

    public static func loopback(port: UInt16) -> Endpoint {
        Endpoint(unchecked: [127, 0, 0, 1], port: port)
    }

    private init(unchecked address: [UInt8], port: UInt16) {
        self.address = address
        self.port = port
    }

    /// `127.0.0.1:7946` or `[fe80:0:0:0:0:0:0:1]:7946`.
    public var description: String { "\(host.contains(":") ? "[\(host)]" : host):\(port)" }

    /// The address alone, as text without brackets.
    public var host: String {
        if address.count == 4 { return address.map(String.init).joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2)
            .map { String(UInt16(address[$0]) << 8 | UInt16(address[$0 + 1]), radix: 16) }
            .joined(separator: ":")
    }

    public static func < (lhs: Endpoint, rhs: Endpoint) -> Bool {
        lhs.address == rhs.address ? lhs.port < rhs.port : lhs.address.lexicographicallyPrecedes(rhs.address)
    }
}
