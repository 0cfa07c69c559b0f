package import CMeshSystem
package import MeshCore

extension mesh_address {
    package init(_ endpoint: Endpoint) {
        self.init()
        length = UInt8(endpoint.address.count)
        port = endpoint.port
        withUnsafeMutableBytes(of: &bytes) { $0.copyBytes(from: endpoint.address) }
    }

    /// Nil for a Unix socket's.
    package var endpoint: Endpoint? {
        Endpoint(address: withUnsafeBytes(of: bytes) { Array($0.prefix(Int(length))) }, port: port)
    }
}
