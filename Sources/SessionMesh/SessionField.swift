#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A typed field of a session. Two requests that set different fields at the same time both keep their change; of two that set the same
/// field, the later one wins.
///
/// ```swift
/// let theme = SessionField<String>("theme")
/// session[theme] = "dark"
/// ```
public struct SessionField<Value: Codable & Sendable>: Sendable {
    /// 1 to 64 bytes of UTF-8.
    public let name: String

    public init(_ name: String) {
        self.name = name
    }

    /// A field is JSON on the wire, so that a person and another language can read it.
    func encode(_ value: Value) throws -> [UInt8] {
        let encoder = JSONEncoder()
        // Equal values must be equal bytes, or an assignment that changes nothing would be sent.
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value))
    }

    func decode(_ bytes: [UInt8]) -> Value? {
        try? JSONDecoder().decode(Value.self, from: Data(bytes))
    }
}

/// A number that any number of requests may add to at once: every increment counts.
public struct SessionCounter: Hashable, Sendable {
    /// 1 to 64 bytes of UTF-8.
    public let name: String

    public init(_ name: String) {
        self.name = name
    }
}
