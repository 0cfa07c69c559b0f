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
        let made = template.withUnsafeMutableBufferPointer { buffer in buffer.baseAddress.flatMap { mkdtemp($0) } != nil }
        guard made else {
            throw SupervisorError(
                .resources, "no directory can be made in \(base ?? "/tmp") (\(String(cString: strerror(errno)))): set XDG_RUNTIME_DIR")
        }
        return PrivateDirectory(path: String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    /// With the files in it; it has no directories.
    package func remove() {
        if let directory = opendir(path) {
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: entry.pointee.d_name) { name in
                    name.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) {
                        String(cString: $0)
                    }
                }
                unlink("\(path)/\(name)")
            }
            closedir(directory)
        }
        rmdir(path)
    }
}
