/// Where a mirror is, as an operator writes it: ``RedisAddress``, ``MemcachedAddress`` and ``MongoAddress`` have the forms.
///
/// A user, password or path may hold `%XX` for any byte; `/`, `@`, `:` and `%` in a password must be written so. Whatever is printed of a
/// URI, by `description`, a dump or an error, is without its password.
public struct MirrorURI: Hashable, Sendable, CustomStringConvertible {
    /// The software that is there, and where.
    public enum Store: Hashable, Sendable {
        case memcached(MemcachedAddress)
        case redis(RedisAddress)
        case mongo(MongoAddress)
    }

    public let store: Store

    /// Text that prints as `***`.
    public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
        let text: String

        public var description: String { "***" }
        public var debugDescription: String { "***" }
        public var customMirror: Swift.Mirror { Swift.Mirror(self, children: []) }
    }

    /// What is wrong with a URI, in one line that doesn't repeat what could be a secret.
    public struct Invalid: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String

        init(_ reason: String) {
            description = "mirror URI: \(reason)"
        }
    }

    private static let forms = "\(RedisAddress.forms), \(MemcachedAddress.forms), or \(MongoAddress.forms)"

    public init(_ text: String) throws(Invalid) {
        guard let separator = text.firstRange(of: "://") else { throw Invalid("there is no \"://\"; write \(Self.forms)") }
        let scheme = text[..<separator.lowerBound]
        let rest = text[separator.upperBound...]
        switch scheme {
        case "memcached": store = .memcached(try MemcachedAddress(rest))
        case "redis", "unix": store = .redis(try RedisAddress(scheme: scheme, rest))
        case "mongodb", "mongodb+srv": store = .mongo(try MongoAddress(scheme: scheme, rest))
        case "rediss": throw Invalid("rediss:// (TLS) is not supported yet; write \(Self.forms)")
        default:
            // An unknown scheme is repeated only when it looks like one: a password may stand before a misplaced "://".
            let known =
                scheme.utf8.count <= 16 && scheme.utf8.allSatisfy { UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 || $0 == UInt8(ascii: "+") }
            throw Invalid("\(known ? "\(scheme):// is not supported" : "the scheme is not supported"); write \(Self.forms)")
        }
    }

    /// Whether it should be kept from other users of the machine.
    public var hasPassword: Bool {
        switch store {
        case .memcached: false
        case .redis(let address): address.password != nil
        case .mongo(let address): address.hasPassword
        }
    }

    public var description: String {
        switch store {
        case .memcached(let address): address.description
        case .redis(let address): address.description
        case .mongo(let address): address.description
        }
    }
}
