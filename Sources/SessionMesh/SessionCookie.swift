/// How the session's cookie is named and guarded. Usable without any framework: a `Cookie` header in, a `Set-Cookie` header out.
public struct SessionCookie: Hashable, Sendable {
    public var secure: Secure
    /// Overrides the name, for an application that shares its host with another.
    public var customName: String?
    /// How long the browser keeps the cookie. How long the session lives is decided in the mesh, and neither waits for the other.
    public var lifetime: Lifetime

    public enum Secure: String, Hashable, Sendable, CaseIterable {
        /// `Secure` when the request came over HTTPS, as the balancer's `X-Forwarded-Proto` says. A client that forges the header only
        /// restricts its own cookie.
        case auto
        /// Always `Secure`, and named with the `__Host-` prefix, which no other host of the domain can overwrite.
        case always
        case never
    }

    public enum Lifetime: Hashable, Sendable {
        /// Until the browser is closed: no `Max-Age`.
        case browser
        /// So long from the moment it is set, which is at the first commit, at each new id, and once after a change of the mesh's cookie key.
        case fixed(Duration)
        /// So long from the last answer to a request that used the session: it is set with each of them.
        case rolling(Duration)
    }

    public init(secure: Secure = .auto, customName: String? = nil, lifetime: Lifetime = .browser) {
        self.secure = secure
        self.customName = customName
        self.lifetime = lifetime
    }

    func setCookie(_ value: String, isSecure: Bool) -> SetCookie {
        let maxAge: Duration? =
            switch lifetime {
            case .browser: nil
            case .fixed(let duration), .rolling(let duration): duration
            }
        return SetCookie(name: name, value: value, isSecure: isSecure, maxAge: maxAge)
    }

    /// `__Host-sid` when the cookie is always secure, else `sid`. The same for every request, since balancers are told one name.
    public var name: String { customName ?? (secure == .always ? "__Host-sid" : "sid") }

    /// - Parameter forwardedProto: the request's `X-Forwarded-Proto`.
    public func isSecure(forwardedProto: String?) -> Bool {
        switch secure {
        case .always: true
        case .never: false
        case .auto: forwardedProto?.lowercased() == "https"
        }
    }

    /// The session's cookie value in the `Cookie` headers of a request; nil when there is none. The first of several counts.
    public func value(inCookieHeaders headers: some Sequence<some StringProtocol>) -> String? {
        for header in headers {
            for pair in header.split(separator: ";") {
                let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, Self.trim(parts[0]) == name else { continue }
                return String(Self.trim(parts[1]))
            }
        }
        return nil
    }

    public func value(inCookieHeader header: String?) -> String? { value(inCookieHeaders: header.map { [$0] } ?? []) }

    private static func trim<Text: StringProtocol>(_ text: Text) -> Text.SubSequence {
        var trimmed = text[...]
        while let first = trimmed.first, first == " " || first == "\t" { trimmed = trimmed.dropFirst() }
        while let last = trimmed.last, last == " " || last == "\t" { trimmed = trimmed.dropLast() }
        return trimmed
    }
}

/// One `Set-Cookie` header.
public struct SetCookie: Hashable, Sendable, CustomStringConvertible {
    public var name: String
    /// Made by an agent from base64url, digits and dots, so it needs no quoting.
    public var value: String
    public var isSecure: Bool
    /// How long the browser keeps it, in whole seconds; nil for as long as it is open, zero to forget it at once.
    public var maxAge: Duration?

    public init(name: String, value: String, isSecure: Bool, maxAge: Duration? = nil) {
        self.name = name
        self.value = value
        self.isSecure = isSecure
        self.maxAge = maxAge
    }

    /// Whether it tells the browser to forget the cookie.
    public var isExpiry: Bool { maxAge.map { $0 <= .zero } ?? false }

    /// The header's value.
    public var description: String {
        var text = "\(name)=\(value); Path=/; HttpOnly; SameSite=Lax"
        if isSecure { text += "; Secure" }
        if let maxAge { text += "; Max-Age=\(max(0, maxAge.components.seconds))" }
        return text
    }
}
