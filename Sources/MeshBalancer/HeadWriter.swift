import MeshCore

/// The few lines that the balancer itself puts into a head, gathered in memory that is kept.
struct LineBuffer {
    /// X-Forwarded-Host and Host each hold an authority of up to 512 bytes; everything else together is below 500.
    private static let capacity = 2048
    private let base: UnsafeMutableRawPointer
    private(set) var count = 0

    init() {
        base = .allocate(byteCount: Self.capacity, alignment: 16)
    }

    func release() { base.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    mutating func removeAll() { count = 0 }

    mutating func append(_ text: StaticString) {
        append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        precondition(count + bytes.count <= Self.capacity, "\(bytes.count) more bytes of own lines behind \(count)")
        (base + count).copyMemory(from: source, byteCount: bytes.count)
        count += bytes.count
    }
}

extension RequestHead {
    /// Brings the request line into the form that an instance is sent: HTTP/1.1 and the origin form, in place.
    /// - Returns: where the line stands now.
    func normaliseRequestLine(at base: UnsafeMutableRawPointer) -> Range<Int> {
        base.storeBytes(of: UInt8(ascii: "1"), toByteOffset: fieldsStart - 3, as: UInt8.self)
        guard isAbsoluteForm else { return start..<fieldsStart }
        var begin = target.lowerBound
        let first = base.load(fromByteOffset: begin, as: UInt8.self)
        if target.isEmpty || first == UInt8(ascii: "?") {
            begin -= 1
            let path = target.isEmpty && method == .options ? UInt8(ascii: "*") : UInt8(ascii: "/")
            base.storeBytes(of: path, toByteOffset: begin, as: UInt8.self)
        }
        // What stood between method and path was at least "http://x", so the method never lands on itself.
        begin -= methodRange.count + 1
        (base + begin).copyMemory(from: base + methodRange.lowerBound, byteCount: methodRange.count + 1)
        return begin..<fieldsStart
    }
}
