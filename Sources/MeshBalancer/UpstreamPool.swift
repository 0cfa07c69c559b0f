internal import CMeshSystem
import MeshCore
import MeshLoop

/// One loop's connections to one instance. The one used last is used next: it is the likeliest to be open, and what is not needed ages out.
final class UpstreamPool {
    let target: RouteTarget
    /// Names the instance over changes of the table.
    let number: UInt32
    /// Its place in the current table; nil once the instance is gone, and then nothing is kept.
    private(set) var index: Int?
    private(set) var isSuspect: Bool
    let address: mesh_address
    private var idle: [UpstreamConnection] = []
    private let idleMax: Int

    init(target: RouteTarget, number: UInt32, index: Int, idleMax: Int) {
        self.target = target
        self.number = number
        self.index = index
        self.idleMax = idleMax
        isSuspect = target.isSuspect
        address = mesh_address(target.endpoint)
    }

    func update(index: Int?, isSuspect: Bool) {
        self.index = index
        self.isSuspect = isSuspect
    }

    /// A connection that was kept, if there is one.
    func take() -> UpstreamConnection? { idle.popLast() }

    /// False when the connection is not wanted.
    func keep(_ connection: UpstreamConnection) -> Bool {
        guard index != nil, idle.count < idleMax else { return false }
        idle.append(connection)
        return true
    }

    func remove(_ connection: UpstreamConnection) {
        // Those that age out are at the front, those that a server closes anywhere.
        if let place = idle.firstIndex(where: { $0 === connection }) { idle.remove(at: place) }
    }

    func closeIdle(in loop: BalancerLoop) {
        for connection in idle.reversed() { connection.close(in: loop) }
        idle = []
    }
}

extension mesh_address {
    /// The address as text; an IPv4 client of an IPv6 listener is written as IPv4.
    var host: String {
        guard let endpoint else { return "unknown" }
        let mapped =
            endpoint.address.count == 16 && endpoint.address[..<10].allSatisfy { $0 == 0 } && endpoint.address[10...11] == [255, 255]
        return mapped ? endpoint.address[12...].map(String.init).joined(separator: ".") : endpoint.host
    }
}
