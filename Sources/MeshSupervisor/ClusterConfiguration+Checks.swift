import Glibc
import MeshCore

/// What can be known to be wrong before anything is started.
extension ClusterConfiguration {
    /// - Throws: one line for the first thing that can't work.
    func checked() throws(SupervisorError) -> ClusterConfiguration {
        guard (1...SupervisorCore.workersMax).contains(workers) else {
            throw SupervisorError(.configuration, "the number of workers is a whole number from 1 to \(SupervisorCore.workersMax)")
        }
        guard let endpoint = Endpoint(text: host.contains(":") ? "[\(host)]:1" : "\(host):1"), !endpoint.isUnspecified else {
            throw SupervisorError(.configuration, "workers can't be reached at \"\(host)\": name an IP address of this machine")
        }
        var configuration = self
        configuration.program = try Self.find(program, path: environment["PATH"])
        configuration.launcher = try Self.find(launcher, path: environment["PATH"])
        if let ports {
            let pool = portPool
            guard pool.freeCount >= workers else {
                throw SupervisorError(
                    .ports,
                    "\(workers) workers need as many ports, and of \(ports.lowerBound) to \(ports.upperBound) only \(pool.freeCount) are "
                        + "free: stop what listens there, or name other ports")
            }
        }
        return configuration
    }

    var portPool: PortPool { PortPool(host: listenAddress, range: ports, reserved: reservedPorts) }

    /// Workers listen on their own address, or on all of them where balancers come from elsewhere.
    private var listenAddress: [UInt8] {
        guard let endpoint = Endpoint(text: host.contains(":") ? "[\(host)]:1" : "\(host):1") else { return [127, 0, 0, 1] }
        return endpoint.isLoopback ? endpoint.address : endpoint.address.map { _ in 0 }
    }

    private static func find(_ name: String, path: String?) throws(SupervisorError) -> String {
        guard !name.isEmpty else { throw SupervisorError(.program, "name a program to run") }
        if name.contains("/") {
            try check(name)
            return name
        }
        for directory in (path ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") {
            let candidate = "\(directory)/\(name)"
            if isFile(candidate), access(candidate, X_OK) == 0 { return candidate }
        }
        throw SupervisorError(.program, "there is no program \(name) in $PATH: name it by its path, such as ./\(name)")
    }

    private static func check(_ path: String) throws(SupervisorError) {
        guard access(path, F_OK) == 0 else {
            throw SupervisorError(.program, "there is no program \(path): \(String(cString: strerror(errno)))")
        }
        guard isFile(path) else { throw SupervisorError(.program, "\(path) is no program but a directory: name a file in it") }
        guard access(path, X_OK) == 0 else { throw SupervisorError(.program, "\(path) isn't executable: chmod +x \(path)") }
    }

    private static func isFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }
}
