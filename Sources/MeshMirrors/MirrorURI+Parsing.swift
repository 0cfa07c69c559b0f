/// A server's name or address, and its port. An IPv6 address is without its brackets.
public struct HostAndPort: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: Int

    public var description: String { "\(host.contains(":") ? "[\(host)]" : host):\(port)" }
}

// What the URIs of all stores have in common.

extension MirrorURI {
    /// At the last `@`, so that a password with an unescaped one is still taken out of the host.
    static func splitLogin(_ authority: Substring) -> (login: Substring?, place: Substring) {
        guard let at = authority.lastIndex(of: "@") else { return (nil, authority) }
        return (authority[..<at], authority[authority.index(after: at)...])
    }

    static func login(_ text: Substring?) throws(Invalid) -> (user: String?, password: Secret?) {
        guard let text else { return (nil, nil) }
        guard let colon = text.firstIndex(of: ":") else {
            throw Invalid("there is a user without a password; write user:password@ or :password@")
        }
        guard let user = percentDecoded(text[..<colon]), let password = percentDecoded(text[text.index(after: colon)...]), isPrintable(user)
        else {
            throw Invalid("the user or password has a % that isn't followed by two hexadecimal digits, or isn't UTF-8; write % as %25")
        }
        guard !password.isEmpty else { throw Invalid("the password before @ is empty") }
        return (user.isEmpty ? nil : user, Secret(text: password))
    }

    /// - Parameter form: how it is written right, for the error.
    static func hostAndPort(_ text: Substring, defaultPort: Int, form: String) throws(Invalid) -> HostAndPort {
        var host = text
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { throw Invalid("an IPv6 address must stand in brackets: [::1]:6379") }
            host = text[text.index(after: text.startIndex)..<end]
            let tail = text[text.index(after: end)...]
            guard tail.isEmpty || tail.hasPrefix(":") else { throw Invalid("only :port may follow the ] of an IPv6 address") }
            port = tail.isEmpty ? nil : tail.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        let isHost = host.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "%"):
                true
            default: false
            }
        }
        guard !host.isEmpty, host.utf8.count <= 253, isHost else {
            throw Invalid("there is no host, or it has a character no host has; write \(form)")
        }
        guard let port else { return HostAndPort(host: String(host), port: defaultPort) }
        guard let number = UInt16(port), number > 0 else {
            throw Invalid("the port is not a number of 1 to 65535; in a password write : as %3A and / as %2F")
        }
        return HostAndPort(host: String(host), port: Int(number))
    }

    static func isPrintable(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
    }

    static func percentDecoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(hexValue), let low = rest.popFirst().flatMap(hexValue) else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
