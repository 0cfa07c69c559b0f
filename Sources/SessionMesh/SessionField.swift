/// A typed field of a session. Two requests that set different fields at the same time both keep their change; of two that set the same
/// field, the later one wins.
///
/// ```swift
/// let theme = SessionField<String>("theme")
/// session[theme] = "dark"
/// ```
public struct SessionField<Value: Sendable>: Sendable {
    /// 1 to 64 bytes of UTF-8.
    public let name: String
    let codec: FieldCodec<Value>

    /// - Parameter codec: what the field's bytes are; the same in every process that reads it.
    public init(_ name: String, codec: FieldCodec<Value>) {
        self.name = name
        self.codec = codec
    }
}

extension SessionField where Value: Codable {
    /// A field that is JSON.
    public init(_ name: String) { self.init(name, codec: .json) }
}

/// A number that any number of requests may add to at once: every increment counts.
public struct SessionCounter: Hashable, Sendable {
    /// 1 to 64 bytes of UTF-8.
    public let name: String

    public init(_ name: String) {
        self.name = name
    }
}
