#if MongoDB
    /// A value to be written as BSON (bsonspec.org, version 1.1), of the types that we use. Literals make commands look as they do in the
    /// manual. A name never has a zero byte: names are ours.
    indirect enum BSON: Sendable {
        case document([(name: String, value: BSON)])
        case array([BSON])
        case string(String)
        /// Of the general subtype, 0.
        case binary([UInt8])
        case bool(Bool)
        /// Unix milliseconds.
        case date(Int64)
        case null
        case int32(Int32)
        case int64(Int64)
        /// A document as somebody else wrote it.
        case encoded(BSONDocument)

        /// The whole of a document; of anything else the one in which it is named "".
        var bytes: [UInt8] {
            var bytes: [UInt8] = []
            if case .document(let fields) = self {
                Self.write(fields, to: &bytes)
            } else {
                Self.write([("", self)], to: &bytes)
            }
            return bytes
        }

        private static func write(_ fields: some Sequence<(name: String, value: BSON)>, to bytes: inout [UInt8]) {
            let start = bytes.count
            append(Int32(0), to: &bytes)
            for field in fields { field.value.write(as: field.name, to: &bytes) }
            bytes.append(0)
            let length = UInt32(bytes.count - start)
            for index in 0..<4 { bytes[start + index] = UInt8(truncatingIfNeeded: length >> (8 * index)) }
        }

        private func write(as name: String, to bytes: inout [UInt8]) {
            bytes.append(type)
            bytes.append(contentsOf: name.utf8)
            bytes.append(0)
            switch self {
            case .document(let fields): Self.write(fields, to: &bytes)
            case .array(let values): Self.write(values.enumerated().lazy.map { ("\($0.offset)", $0.element) }, to: &bytes)
            case .string(let text):
                Self.append(Int32(text.utf8.count + 1), to: &bytes)
                bytes.append(contentsOf: text.utf8)
                bytes.append(0)
            case .binary(let value):
                Self.append(Int32(value.count), to: &bytes)
                bytes.append(0)
                bytes.append(contentsOf: value)
            case .bool(let value): bytes.append(value ? 1 : 0)
            case .null: break
            case .int32(let value): Self.append(value, to: &bytes)
            case .encoded(let document): bytes.append(contentsOf: document.bytes)
            case .date(let value), .int64(let value): Self.append(value, to: &bytes)
            }
        }

        private var type: UInt8 {
            switch self {
            case .string: 0x02
            case .document, .encoded: 0x03
            case .array: 0x04
            case .binary: 0x05
            case .bool: 0x08
            case .date: 0x09
            case .null: 0x0A
            case .int32: 0x10
            case .int64: 0x12
            }
        }

        private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
            withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
        }
    }

    extension BSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral, ExpressibleByNilLiteral,
        ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
    {
        init(stringLiteral value: String) { self = .string(value) }
        init(integerLiteral value: Int32) { self = .int32(value) }
        init(booleanLiteral value: Bool) { self = .bool(value) }
        init(nilLiteral: ()) { self = .null }
        init(arrayLiteral elements: BSON...) { self = .array(elements) }
        init(dictionaryLiteral elements: (String, BSON)...) { self = .document(elements.map { (name: $0.0, value: $0.1) }) }
    }
#endif
