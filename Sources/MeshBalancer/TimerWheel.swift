/// Coarse timers for all connections of a loop.
///
/// A connection has one deadline, which moves with every request; the wheel has an entry that is never later than it. Setting a later deadline is a store
/// and nothing else: when the entry comes up, the loop sees that it is early and files it again. Only an earlier deadline needs a new entry, and the old one
/// is recognised as stale by its tick. So a busy connection touches the wheel about once a second.
struct TimerWheel {
    /// 2^25 ns, 33.6 ms.
    static let tickShift: Int64 = 25
    /// 69 s. What is due later comes up early and is filed again.
    private static let size = 2048

    /// Every tick up to this one has been taken.
    private var current: Int64
    private var buckets: [[UInt64]]
    private var occupied: [UInt64]

    init(now: Int64) {
        current = now >> Self.tickShift
        buckets = Array(repeating: [], count: Self.size)
        occupied = Array(repeating: 0, count: Self.size / 64)
    }

    /// The tick at which something due at `deadline` may be acted on.
    static func tick(of deadline: Int64) -> Int64 {
        deadline == .max ? .max : deadline >> tickShift + 1
    }

    /// Files `tag` and says under which tick.
    mutating func insert(_ tag: UInt64, at tick: Int64) -> Int64 {
        let filed = min(max(tick, current + 1), current + Int64(Self.size) - 1)
        let index = Int(filed) & (Self.size - 1)
        buckets[index].append(tag)
        occupied[index / 64] |= 1 << UInt64(index % 64)
        return filed
    }

    /// The next due tick with what is filed under it, at most `now`; nil when nothing is due.
    mutating func next(at now: Int64) -> (tick: Int64, tags: [UInt64])? {
        let last = now >> Self.tickShift
        while current < last {
            current += 1
            let index = Int(current) & (Self.size - 1)
            guard occupied[index / 64] & (1 << UInt64(index % 64)) != 0 else { continue }
            occupied[index / 64] &= ~(1 << UInt64(index % 64))
            let tags = buckets[index]
            buckets[index] = []
            return (current, tags)
        }
        return nil
    }

    /// Milliseconds until something may be due; nil when nothing is filed.
    func millisecondsToNext(at now: Int64) -> Int32? {
        var ahead: Int64 = 1
        while ahead < Int64(Self.size) {
            let index = Int(current + ahead) & (Self.size - 1)
            let word = occupied[index / 64] >> UInt64(index % 64)
            if word == 0 {
                ahead += Int64(64 - index % 64)
                continue
            }
            ahead += Int64(word.trailingZeroBitCount)
            return Int32(clamping: max(0, ((current + ahead) << Self.tickShift - now) / 1_000_000 + 1))
        }
        return nil
    }
}
