/// A typed field of a session. Two requests that set different fields at the same time both keep their change; of two that set the same
/// field, the later one wins. ``SessionMesh/update(_:_:isSecure:_:)`` is for a value that depends on the one before.
///
/// ```swift
/// let theme = SessionField<String>("theme")
/// session[theme] = "dark"
/// ```
public struct SessionField<Value: Sendable>: Sendable {
    /// 1 to 64 bytes of UTF-8, not beginning with `@`.
    public let name: String
    let codec: FieldCodec<Value>

    /// - Parameter codec: what the field's bytes are; the same in every process that reads it.
    public init(_ name: String, codec: FieldCodec<Value>) {
        self.name = name
        self.codec = codec
    }

    /// Where what was left for the visitor's next page is kept.
    var flash: SessionField { SessionField("~" + name, codec: codec) }
}

extension SessionField where Value: Codable {
    /// A field that is JSON.
    public init(_ name: String) { self.init(name, codec: .json) }
}

/// A number that any number of requests may add to at once: every increment counts.
public struct SessionCounter: Hashable, Sendable {
    /// 1 to 64 bytes of UTF-8, not beginning with `@`.
    public let name: String

    public init(_ name: String) {
        self.name = name
    }
}

/// A number that any number of requests may raise at once: the greatest counts.
public struct SessionMaximum: Hashable, Sendable {
    /// 1 to 64 bytes of UTF-8, not beginning with `@`.
    public let name: String

    public init(_ name: String) {
        self.name = name
    }
}

/// A set to which any number of requests may add elements, and from which they may take some, at once. Only of two that speak of one
/// element does the later one win.
///
/// All sets of a session together hold 256 elements; one has up to 128 bytes, as its codec writes it.
public struct SessionSet<Element: Hashable & Sendable>: Sendable {
    /// 1 to 64 bytes of UTF-8, not beginning with `@`.
    public let name: String
    let codec: FieldCodec<Element>

    /// - Parameter codec: what an element's bytes are. Equal elements must be equal bytes.
    public init(_ name: String, codec: FieldCodec<Element>) {
        self.name = name
        self.codec = codec
    }
}

extension SessionSet where Element: Codable {
    /// A set whose elements are JSON.
    public init(_ name: String) { self.init(name, codec: .json) }
}
