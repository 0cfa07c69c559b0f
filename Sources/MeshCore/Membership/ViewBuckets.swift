/// A view's digest in sixteen parts, so that two members whose digests differ can tell where.
///
/// A member belongs to the bucket of its name, which is the same for everybody. The parts are cut to 32 bits to fit one small packet: should
/// two that differ look equal, once in four thousand million times, the repair fails and the next goes over a peer link.
public struct ViewBuckets: Hashable, Sendable {
    public static let count = 16

    /// Of each bucket the sum of what its members and their instances add to the view's digest. So they add up to the digest's lower half.
    public private(set) var sums = [UInt32](repeating: 0, count: Self.count)

    public init() {}

    /// The bucket of a name whose ``Watchers/seed(of:)`` that is.
    static func bucket(of seed: UInt64) -> Int { Int(seed >> 60) }

    mutating func add(_ hash: UInt64, of seed: UInt64) {
        sums[Self.bucket(of: seed)] &+= UInt32(truncatingIfNeeded: hash)
    }

    func differing(from other: ViewBuckets) -> [Int] {
        sums.indices.filter { sums[$0] != other.sums[$0] }
    }
}

// MARK: Coding

extension ByteWriter {
    mutating func write(_ buckets: ViewBuckets) {
        for sum in buckets.sums { write(sum) }
    }
}

extension ByteReader {
    mutating func readViewBuckets() throws(WireError) -> ViewBuckets { try ViewBuckets(reading: &self) }
}

extension ViewBuckets {
    fileprivate init(reading reader: inout ByteReader) throws(WireError) {
        for bucket in sums.indices { sums[bucket] = try reader.read() }
    }
}
