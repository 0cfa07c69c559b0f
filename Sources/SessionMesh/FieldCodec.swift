#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// How a field's values become bytes, and bytes become values again.
///
/// Each field has its own: JSON if nothing is said, so that a person and another language can read it. What a codec can't read, after a
/// deploy that changed a type, is nil to the application and counted; the rest of the session is as it was.
///
/// ```swift
/// let avatar = SessionField<[UInt8]>("avatar", codec: .bytes)
/// let cart = SessionField<Cart>("cart", codec: FieldCodec(encode: { try $0.serializedBytes() }, decode: { try Cart(serializedBytes: $0) }))
/// ```
public struct FieldCodec<Value: Sendable>: Sendable {
    let encode: @Sendable (Value) throws -> [UInt8]
    let decode: @Sendable ([UInt8]) throws -> Value

    /// - Parameters:
    ///   - encode: gives at most 16 KiB, or the commit fails as `.invalid`, as it does when this throws. Equal values should be equal
    ///     bytes: otherwise an assignment that changes nothing is sent.
    ///   - decode: throws when the bytes aren't a value; it is given whatever any version of the application wrote under the field's name.
    public init(
        encode: @escaping @Sendable (_ value: Value) throws -> [UInt8], decode: @escaping @Sendable (_ bytes: [UInt8]) throws -> Value
    ) {
        self.encode = encode
        self.decode = decode
    }
}

extension FieldCodec where Value: Codable {
    /// JSON with its keys in order. What a field has if nothing is said.
    public static var json: FieldCodec {
        FieldCodec { value in
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return Array(try encoder.encode(value))
        } decode: { bytes in
            try JSONDecoder().decode(Value.self, from: Data(bytes))
        }
    }
}

extension FieldCodec where Value: LosslessStringConvertible {
    /// The value's text in UTF-8 and nothing around it: `dark`, where JSON has `"dark"`.
    public static var text: FieldCodec {
        FieldCodec { value in
            Array(value.description.utf8)
        } decode: { bytes in
            guard let text = String(validating: bytes, as: UTF8.self), let value = Value(text) else { throw NotAValue() }
            return value
        }
    }
}

/// Says no more than that: what a session holds must not get into an error's text.
private struct NotAValue: Error {}

extension FieldCodec where Value == [UInt8] {
    /// The bytes themselves.
    public static var bytes: FieldCodec { FieldCodec(encode: { $0 }, decode: { $0 }) }
}
