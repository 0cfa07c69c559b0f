import Glibc
import MeshCore

/// Unix milliseconds.
func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

/// An expiry that no claim lives to see; with what claims add to it, it is less than an hour away.
func inHalfAnHour() -> Int64 { now() + 1_800_000 }

extension SessionKey {
    static func random() -> SessionKey {
        SessionKey(bytes: (0..<byteCount).map { _ in UInt8.random(in: 0...255) }) ?? random()
    }
}

extension UserKey {
    static func random() -> UserKey { UserKey(of: "\(SessionKey.random())") }
}

extension [UInt8] {
    static func version(_ number: UInt64) -> [UInt8] {
        stride(from: 120, through: 0, by: -8).map { $0 >= 64 ? 0 : UInt8(truncatingIfNeeded: number >> UInt64($0)) }
    }
}

extension MirrorEntry {
    static func entry(_ name: String, _ version: UInt64, _ payload: String = "") -> MirrorEntry {
        MirrorEntry(name: Array(name.utf8), version: .version(version), payload: Array(payload.utf8))
    }
}
