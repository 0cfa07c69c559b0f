/// Which cookie key signs, while key files change one by one under a mesh that runs.
///
/// Every key of the file is accepted, and no other: one that was taken out is refused at once, for whoever has it could make cookies. The
/// file's last key signs once every reachable member accepts it; until then the last one that all accept, or the one in use. So what one
/// member signs is good at all others, and files may be changed in any order. To force it is to sign with the file's last key at once.
///
/// A cookie of an older key is answered with one of the key in use, so that a rotation is over when everybody has come once: see
/// ``CookieCodec/renewal(of:signedBy:)``.
public struct CookieRotation: Hashable, Sendable {
    /// What the key file says, and all that is accepted. Never empty.
    public private(set) var file: [CookieKey]
    public private(set) var signing: CookieKey
    private var isForced = false

    /// Nil for an empty ring.
    public init?(_ file: [CookieKey]) {
        guard let last = file.last else { return nil }
        self.file = file
        signing = last
    }

    /// Takes what a file says now; call ``consider(_:)`` next. An empty ring changes nothing.
    /// - Throws: when it gives the number of a key that is known to another secret: cookies name keys by number.
    public mutating func load(_ file: [CookieKey], force: Bool) throws(KeyRotation.Problem) {
        guard let last = file.last else { return }
        for key in file {
            if let known = self.file.first(where: { $0.number == key.number }), known != key { throw .cookieNumberReused(key.number) }
        }
        self.file = file
        if !file.contains(signing) { signing = last }
        isForced = force
    }

    /// Whether the other members can make a difference: mostly there is one key.
    var hasChoice: Bool { file.count > 1 }

    /// Signs with what the cookie keys of the other reachable members allow.
    /// - Returns: whether that is another key than before.
    public mutating func consider(_ others: some Collection<Member>) -> Bool {
        let next = isForced ? file.last : file.last { key in others.allSatisfy { $0.cookieKeys.contains(key.mark) } }
        guard let next, next != signing else { return false }
        signing = next
        return true
    }

    /// What others are told: which keys are accepted, the one that signs last.
    public var marks: [KeyMark] { file.filter { $0 != signing }.map(\.mark) + [signing.mark] }
}
