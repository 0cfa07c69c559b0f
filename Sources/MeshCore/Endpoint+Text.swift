extension Endpoint {
    /// Reads `127.0.0.1:7946`, `[::1]:7946` or `localhost:7946`; nil for anything else. Other names are the business of whoever can
    /// ask a resolver. An IPv4 address in the clothes of IPv6, `[::ffff:10.0.0.1]:7946`, is taken for what it is: a member has one endpoint.
    public init?(text: some StringProtocol) {
        guard let colon = text.lastIndex(of: ":"), let port = Self.decimal(text[text.index(after: colon)...], as: UInt16.self) else {
            return nil
        }
        var host = Substring(text[..<colon])
        if host == "localhost" { host = "127.0.0.1" }
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        guard let address = isBracketed ? Self.addressV6(host.dropFirst().dropLast()) : Self.addressV4(host) else { return nil }
        self.init(address: address.starts(with: Self.mappedPrefix) ? Array(address[12...]) : address, port: port)
    }

    /// `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
    public static let mappedPrefix: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]

    private static func addressV4(_ text: Substring) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let address = parts.compactMap { decimal($0, as: UInt8.self) }
        return parts.count == 4 && address.count == 4 ? address : nil
    }

    private static func addressV6(_ text: Substring) -> [UInt8]? {
        // The last four bytes may be written as in IPv4 (RFC 4291, section 2.2).
        if text.contains("."), let colon = text.lastIndex(of: ":") {
            guard let tail = addressV4(text[text.index(after: colon)...]) else { return nil }
            let words = [UInt16(tail[0]) << 8 | UInt16(tail[1]), UInt16(tail[2]) << 8 | UInt16(tail[3])]
            return addressV6(text[...colon] + words.map { String($0, radix: 16) }.joined(separator: ":"))
        }
        guard let gap = text.firstRange(of: "::") else {
            guard let words = words(text), words.count == 8 else { return nil }
            return bytes(words)
        }
        guard let front = words(text[..<gap.lowerBound]), let back = words(text[gap.upperBound...]), front.count + back.count < 8 else {
            return nil
        }
        return bytes(front + Array(repeating: 0, count: 8 - front.count - back.count) + back)
    }

    private static func words(_ text: Substring) -> [UInt16]? {
        if text.isEmpty { return [] }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let words = parts.compactMap { $0.count <= 4 && $0.allSatisfy(\.isHexDigit) ? UInt16($0, radix: 16) : nil }
        return words.count == parts.count ? words : nil
    }

    private static func bytes(_ words: [UInt16]) -> [UInt8] {
        words.flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    }

    /// Digits alone: the library's own reading lets a sign pass.
    private static func decimal<Integer: FixedWidthInteger>(_ text: some StringProtocol, as _: Integer.Type) -> Integer? {
        text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ? Integer(text) : nil
    }
}

extension Endpoint {
    /// Reached from this machine alone.
    public var isLoopback: Bool {
        address.count == 4 ? address[0] == 127 : address.dropLast().allSatisfy { $0 == 0 } && address.last == 1
    }

    /// Bound to every address of the machine.
    public var isUnspecified: Bool { address.allSatisfy { $0 == 0 } }

    public func with(port: UInt16) -> Endpoint { Endpoint(address: address, port: port) ?? self }
}
