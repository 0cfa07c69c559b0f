import Glibc

package enum Files {
    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    package static func write(_ text: String, to path: String) throws {
        guard let file = fopen(path, "w") else { throw LabFailure("\(path) can't be written: \(String(cString: strerror(errno)))") }
        let wrote = fputs(text, file) >= 0
        guard fclose(file) == 0, wrote else { throw LabFailure("\(path) can't be written: \(String(cString: strerror(errno)))") }
    }

    package static func read(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        while bytes.count < 1 << 20 {
            let next = fgetc(file)
            guard next != EOF else { break }
            bytes.append(UInt8(truncatingIfNeeded: next))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    package static func makeDirectory(_ path: String) throws {
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
            throw LabFailure("\(path) can't be made: \(String(cString: strerror(errno)))")
        }
    }

    /// The kernel needs a moment to see that its processes are gone.
    package static func removeDirectory(_ path: String) {
        let deadline = Instant.now + .seconds(1)
        while rmdir(path) != 0, Instant.now < deadline { poll(nil, 0, 20) }
    }
}
