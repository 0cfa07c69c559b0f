import CMeshSystem
import MeshCore

/// The ports that workers are told to listen on: free ones of the system's choice, or of a range.
struct PortPool {
    private let host: [UInt8]
    private let range: ClosedRange<UInt16>?
    /// Of processes that run; a port is not free before its process has ended.
    private var taken: Set<UInt16>

    /// - Parameter reserved: never given.
    init(host: [UInt8], range: ClosedRange<UInt16>?, reserved: Set<UInt16>) {
        self.host = host
        self.range = range
        taken = reserved
    }

    /// How many could be had now; of any port, as many as one likes.
    var freeCount: Int { range.map { $0.count { !taken.contains($0) && isFree($0) } } ?? .max }

    mutating func take() -> UInt16? {
        let port = range.map { range in range.first { !taken.contains($0) && isFree($0) } } ?? anyPort()
        if let port { taken.insert(port) }
        return port
    }

    mutating func giveBack(_ port: UInt16) { taken.remove(port) }

    private func isFree(_ port: UInt16) -> Bool { bound(port) != nil }

    private func anyPort() -> UInt16? {
        for _ in 0..<16 { if let port = bound(0), !taken.contains(port) { return port } }
        return nil
    }

    /// What is bound to and let go of again, so that a process can have it. Whoever takes it in between makes that process crash, and the next
    /// one is told another.
    private func bound(_ port: UInt16) -> UInt16? {
        var address = mesh_address()
        address.length = UInt8(host.count)
        address.port = port
        withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: host) }
        let descriptor = mesh_bind(&address, 1)
        guard descriptor >= 0 else { return nil }
        defer { mesh_close(descriptor) }
        guard mesh_local_address(descriptor, &address) == 0 else { return nil }
        return address.port
    }
}
