#if MongoDB
    /// A BSON document that somebody else wrote. Nothing in it is believed: each level is checked when it is read.
    struct BSONDocument: Hashable, Sendable {
        /// With its length and its terminating zero.
        let bytes: ArraySlice<UInt8>

        init(_ bytes: some Sequence<UInt8>) { self.bytes = ArraySlice(Array(bytes)) }
        fileprivate init(slice: ArraySlice<UInt8>) { bytes = slice }

        /// Its fields in their order; nil when it isn't BSON.
        var fields: [(name: String, value: BSONValue)]? {
            var input = BSONInput(rest: bytes)
            guard let length = input.int32(), Int(length) == bytes.count, bytes.count >= 5, bytes.last == 0 else { return nil }
            input.rest.removeLast()
            var fields: [(name: String, value: BSONValue)] = []
            while let type = input.byte() {
                guard let name = input.name(), let value = BSONValue(type: type, &input) else { return nil }
                fields.append((name, value))
            }
            return fields
        }

        /// The values of an array, whatever their names; nil when it isn't BSON.
        var values: [BSONValue]? { fields?.map(\.value) }

        /// The first field of that name; nil also when this isn't BSON.
        subscript(_ name: String) -> BSONValue? { fields?.first { $0.name == name }?.value }
    }

    enum BSONValue: Hashable, Sendable {
        case double(Double)
        case string(String)
        case document(BSONDocument)
        case array(BSONDocument)
        /// Of the general subtype, 0.
        case binary(ArraySlice<UInt8>)
        case bool(Bool)
        /// Unix milliseconds.
        case date(Int64)
        case null
        case int32(Int32)
        case int64(Int64)
        /// Any of the types that we have no use for.
        case other

        fileprivate init?(type: UInt8, _ input: inout BSONInput) {
            switch type {
            case 0x01:
                guard let bits = input.int64() else { return nil }
                self = .double(Double(bitPattern: UInt64(bitPattern: bits)))
            case 0x02:
                guard let text = input.string() else { return nil }
                self = .string(text)
            case 0x03, 0x04:
                guard let document = input.document() else { return nil }
                self = type == 0x03 ? .document(document) : .array(document)
            case 0x05:
                guard let count = input.int32(), let subtype = input.byte(), let bytes = input.take(Int(count)) else { return nil }
                self = subtype == 0 ? .binary(bytes) : .other
            case 0x08:
                guard let byte = input.byte(), byte <= 1 else { return nil }
                self = .bool(byte == 1)
            case 0x09:
                guard let milliseconds = input.int64() else { return nil }
                self = .date(milliseconds)
            case 0x0A: self = .null
            case 0x10:
                guard let value = input.int32() else { return nil }
                self = .int32(value)
            case 0x12:
                guard let value = input.int64() else { return nil }
                self = .int64(value)
            default:
                guard input.skip(type) else { return nil }
                self = .other
            }
        }

        var document: BSONDocument? { if case .document(let document) = self { document } else { nil } }
        var array: BSONDocument? { if case .array(let array) = self { array } else { nil } }
        var binary: ArraySlice<UInt8>? { if case .binary(let bytes) = self { bytes } else { nil } }
        var string: String? { if case .string(let text) = self { text } else { nil } }
        var date: Int64? { if case .date(let milliseconds) = self { milliseconds } else { nil } }

        /// A whole number, in whichever of the three types servers write it.
        var integer: Int64? {
            switch self {
            case .int32(let value): Int64(value)
            case .int64(let value): value
            case .double(let value): Int64(exactly: value)
            default: nil
            }
        }
    }

    /// Takes values from the front of bytes; nil when there aren't enough.
    private struct BSONInput {
        var rest: ArraySlice<UInt8>

        mutating func byte() -> UInt8? { rest.popFirst() }

        mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
            guard count >= 0, count <= rest.count else { return nil }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count)
        }

        mutating func int32() -> Int32? {
            take(4).map { Int32(bitPattern: $0.reversed().reduce(0) { $0 << 8 | UInt32($1) }) }
        }

        mutating func int64() -> Int64? {
            take(8).map { Int64(bitPattern: $0.reversed().reduce(0) { $0 << 8 | UInt64($1) }) }
        }

        /// Up to a zero byte.
        mutating func name() -> String? {
            guard let end = rest.firstIndex(of: 0) else { return nil }
            defer { rest = rest[(end + 1)...] }
            return String(validating: rest[..<end], as: UTF8.self)
        }

        mutating func string() -> String? {
            guard let count = int32(), count >= 1, let bytes = take(Int(count)), bytes.last == 0 else { return nil }
            return String(validating: bytes.dropLast(), as: UTF8.self)
        }

        mutating func document() -> BSONDocument? {
            guard let length = BSONInput(rest: rest.prefix(4)).length, length >= 5 else { return nil }
            return take(length).map(BSONDocument.init(slice:))
        }

        private var length: Int? {
            var input = self
            return input.int32().map(Int.init)
        }

        /// Passes over a value of a type that we don't read; false when there is no such type.
        mutating func skip(_ type: UInt8) -> Bool {
            switch type {
            case 0x06, 0x7F, 0xFF: true
            case 0x07: take(12) != nil
            case 0x0B: name() != nil && name() != nil
            case 0x0C: string() != nil && take(12) != nil
            case 0x0D, 0x0E: string() != nil
            case 0x0F: document() != nil
            case 0x11: take(8) != nil
            case 0x13: take(16) != nil
            default: false
            }
        }
    }
#endif
