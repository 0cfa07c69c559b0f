import Glibc

/// A fresh directory that only this user may enter, for sockets and keys.
package struct PrivateDirectory: Sendable {
    package let path: String

    /// Takes over one that is there.
    package init(path: String) { self.path = path }

    /// - Throws: when neither `$XDG_RUNTIME_DIR` nor `/tmp` lets one be made.
    package static func make(_ name: String, environment: [String: String]) throws(SupervisorError) -> PrivateDirectory {
        // A socket's path has little room, so a long directory is no place for one.
        let base = environment["XDG_RUNTIME_DIR"].flatMap { $0.hasPrefix("/") && $0.utf8.count <= 48 && access($0, W_OK) == 0 ? $0 : nil }
        var template = Array("\(base ?? "/tmp")/\(name)-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
        }
        guard let path = made else {
            throw SupervisorError(
                .resources, "no directory can be made in \(base ?? "/tmp") (\(String(cString: strerror(errno)))): set XDG_RUNTIME_DIR")
        }
        return PrivateDirectory(path: path)
    }

    /// With the files in it; it has no directories.
    package func remove() {
        for name in DirectoryListing.names(in: path) { unlink("\(path)/\(name)") }
        rmdir(path)
    }
}
