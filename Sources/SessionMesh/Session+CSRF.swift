import MeshCore

// Tokens against requests that another site's page makes a visitor's browser send ("cross-site request forgery"). The browser adds the
// cookie to those by itself; what it can't add is something that only our own pages were told. `CSRFMiddleware` of SessionMeshHummingbird
// asks for it; another framework's glue may do the same with these two.

extension Session {
    /// 32 random bytes, made when the first token is asked for, and gone with ``regenerate()``: what a page was told before a login is
    /// worth nothing after it.
    static let csrfSecret = SessionField<[UInt8]>("csrf", codec: .bytes)
    static let csrfSecretBytes = 32

    private var presentCSRFSecret: [UInt8]? {
        guard let secret = self[Self.csrfSecret], secret.count == Self.csrfSecretBytes else { return nil }
        return secret
    }

    /// A token for one page: 86 characters of base64url, for a form or a header.
    ///
    /// Each one is another: the secret in the session's field `csrf` is hidden under a mask drawn for this page, so that the sizes of
    /// compressed answers tell nobody anything (the BREACH attack). All of them are good until the session's id is regenerated. In the
    /// request that does so, ask after ``regenerate()``.
    ///
    /// The first token of a session changes it. When two requests draw the secret at one moment, the later one's counts, and the other's
    /// page has to be loaded again.
    public mutating func csrfToken() -> String {
        var generator = SystemRandomNumberGenerator()
        func draw() -> [UInt8] { (0..<Self.csrfSecretBytes).map { _ in .random(in: .min ... .max, using: &generator) } }
        let secret = presentCSRFSecret ?? draw()
        self[Self.csrfSecret] = secret
        let mask = draw()
        return String(decoding: Base64URL.encode(mask + zip(mask, secret).map { $0 ^ $1 }), as: UTF8.self)
    }

    /// Whether a token is one of this session's. Takes as long for a wrong one as for a right one.
    public func accepts(csrfToken token: some StringProtocol) -> Bool {
        guard let secret = presentCSRFSecret, let bytes = Base64URL.decode(token.utf8), bytes.count == 2 * secret.count else {
            return false
        }
        var difference: UInt8 = 0
        for index in secret.indices { difference |= secret[index] ^ bytes[index] ^ bytes[index + secret.count] }
        return difference == 0
    }
}
