import Crypto
public import Hummingbird
import MeshCore
public import SessionMesh

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Hummingbird's persist framework on the mesh: values by key, held twice, on whichever node is asked.
///
/// ```swift
/// let persist = MeshPersistDriver(mesh)
/// try await persist.set(key: "greeting", value: "hello", expires: .seconds(60))
/// ```
///
/// Code that was written for another driver runs unchanged. Each value is a small session of its own under the SHA-256 of its key, so a
/// value has at most 16 KiB of JSON, and a key that many requests change is changed by one node. It stays until it is removed or its
/// time is over, whatever the agents' idle time is.
///
/// Whole objects are what it keeps: of two requests that set one at a time, the later one's counts. For visitors' sessions use
/// ``SessionMiddleware``, which merges them field by field; Hummingbird's own session middleware runs on this driver too, and also adopts
/// ids that it didn't make.
public struct MeshPersistDriver: PersistDriver {
    private let mesh: SessionMesh

    private static let field = "v"
    /// Some 136 years: such values have no idle time and no greatest age.
    private static let ever = UInt32.max
    /// How long a removed value's place is kept: as long as a request that was overtaken by the removal may take.
    private static let removedIdleSeconds: UInt32 = 60

    public init(_ mesh: SessionMesh) {
        self.mesh = mesh
    }

    /// - Throws: `PersistError.duplicate` when there is a value, also to all but one of those who create it at one moment; ``SessionError``.
    public func create<Object: Codable & Sendable>(key: String, value: Object, expires: Duration?) async throws {
        guard try await make(key, Self.encode(value), until: Self.date(in: expires) ?? 0) else { throw PersistError.duplicate }
    }

    /// Without `expires`, a value that is there keeps the time that it has left.
    /// - Throws: ``SessionError``.
    public func set<Object: Codable & Sendable>(key: String, value: Object, expires: Duration?) async throws {
        let bytes = try Self.encode(value)
        if let date = Self.date(in: expires) {
            _ = try await commit(key, [.set(Self.field, bytes)], until: date, makes: true)
            return
        }
        // What is there keeps its date, and what is made has none: which of them it is may change between two questions.
        for _ in 0..<Self.attemptsMax {
            do {
                _ = try await commit(key, [.set(Self.field, bytes)])
                return
            } catch let error as SessionError where error.code == .notFound {
                if try await make(key, bytes, until: 0) { return }
            }
        }
        throw SessionError(.contended, "a value was made and ended by others \(Self.attemptsMax) times in a row; try again later")
    }

    /// A value that comes and goes between any two questions is somebody's mistake.
    private static let attemptsMax = 8

    /// - Throws: `PersistError.invalidConversion` when the value is no `Object`; ``SessionError``.
    public func get<Object: Codable & Sendable>(key: String, as type: Object.Type) async throws -> Object? {
        try await getWithTTL(key: key, as: type)?.object
    }

    /// - Throws: as ``get(key:as:)``.
    public func getWithTTL<Object: Codable & Sendable>(
        key: String, as: Object.Type
    ) async throws -> (object: Object, ttl: Duration?)? {
        guard let session = try await mesh.read(Self.sessionKey(key)), let snapshot = session.snapshot,
            snapshot.fields.contains(where: { $0.name == Self.field })
        else { return nil }
        guard let object = session[SessionField<Object>(Self.field)] else { throw PersistError.invalidConversion }
        let left = snapshot.expiresAt - Self.now
        // Without a date it is about `ever`; a date that is as far away as half of that is as good as none.
        return (object, left < Int64(Self.ever) * 1000 / 2 ? .milliseconds(max(0, left)) : nil)
    }

    /// - Throws: ``SessionError``.
    public func remove(key: String) async throws {
        do {
            // Its place ends by itself. Destroyed, it could never be made again.
            _ = try await commit(key, [.remove(Self.field)], until: 0, idleSeconds: Self.removedIdleSeconds)
        } catch let error as SessionError where error.code == .notFound {}
    }

    // MARK: Commits

    /// False when there is a value.
    private func make(_ key: String, _ bytes: [UInt8], until date: Int64) async throws -> Bool {
        try await commit(key, [.set(Self.field, bytes)], if: [.isAbsent(Self.field)], until: date, makes: true)
    }

    /// False when a condition doesn't hold.
    private func commit(
        _ key: String, _ changes: [FieldChange], if conditions: [FieldCondition] = [], until date: Int64? = nil,
        idleSeconds: UInt32 = ever, makes: Bool = false
    ) async throws -> Bool {
        var generator = SystemRandomNumberGenerator()
        let response = try await mesh.send(
            SessionCommit(
                key: Self.sessionKey(key), id: CommitID(using: &generator), changes: changes, conditions: conditions, makesSession: makes,
                idleSeconds: idleSeconds, absoluteSeconds: Self.ever, until: date))
        if case .conflict = response { return false }
        return true
    }

    /// Not the hash of any visitor's id: those are of 32 bytes.
    private static func sessionKey(_ key: String) throws -> SessionKey {
        guard let sessionKey = SessionKey(bytes: Array(SHA256.hash(data: Data("sessionmesh persist 1\0\(key)".utf8)))) else {
            throw SessionError(.invalid, "a hash of another length")
        }
        return sessionKey
    }

    private static func encode(_ value: some Encodable) throws -> [UInt8] {
        do { return Array(try JSONEncoder().encode(value)) } catch {
            throw SessionError(.invalid, "the value can't be encoded as JSON: \(type(of: error))")
        }
    }

    /// Unix milliseconds, by this machine's clock; the mesh goes by the median of its own.
    private static var now: Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    private static func date(in expires: Duration?) -> Int64? {
        guard let expires else { return nil }
        // Bounded before anything is added to it.
        let (seconds, attoseconds) = min(max(.zero, expires), .seconds(SessionLimits.dateMax / 1000)).components
        return min(now + seconds * 1000 + attoseconds / 1_000_000_000_000_000, SessionLimits.dateMax)
    }
}
