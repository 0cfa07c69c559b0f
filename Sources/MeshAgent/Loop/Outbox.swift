internal import CMeshSystem

/// Bytes on their way out of one connection: gathered during a turn, written at its end. What the kernel doesn't take then waits here; how much may is for
/// the connection to say.
struct Outbox {
    /// To append to.
    var bytes: [UInt8] = []
    /// How many of them the kernel has.
    private var taken = 0

    /// Memory that is kept for the next turn. Most of what is said is far shorter, and a connection may rest for long after something longer.
    private static let keptBytesMax = 16 << 10

    var count: Int { bytes.count - taken }

    enum Written {
        case all
        /// The kernel takes no more for now.
        case part
        case failure
    }

    /// One write.
    mutating func write(to descriptor: Int32) -> Written {
        guard count > 0 else { return .all }
        let sent = bytes.withUnsafeBytes { mesh_send(descriptor, $0.baseAddress.map { $0 + taken }, $0.count - taken) }
        guard sent >= 0 else { return mesh_says_again(sent) ? .part : .failure }
        taken += sent
        guard count > 0 else {
            taken = 0
            if bytes.count > Self.keptBytesMax { bytes = [] } else { bytes.removeAll(keepingCapacity: true) }
            return .all
        }
        // Moved only when at least as much goes as stays.
        if taken >= count {
            bytes.removeFirst(taken)
            taken = 0
        }
        return .part
    }
}
