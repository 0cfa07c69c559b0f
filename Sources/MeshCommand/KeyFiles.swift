import Foundation
import MeshCore

/// Key files on disk.
enum KeyFiles {
    /// Reads a key file, or a pipe such as `/dev/stdin`.
    /// - Throws: a configuration's failure that says what to do. A file that others may read is refused: whoever reads it is a member.
    static func read(_ path: String) throws -> KeyFile {
        let descriptor = Foundation.open(path == "-" ? "/dev/stdin" : path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandFailure.configuration("the key file \(path) can't be read (\(String(cString: strerror(errno)))): \(advice)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT != S_IFDIR else {
            throw CommandFailure.configuration("the key file \(path) is a directory: \(advice)")
        }
        if status.st_mode & S_IFMT == S_IFREG, status.st_mode & 0o077 != 0 {
            throw CommandFailure.configuration(
                "the key file \(path) is open to others (mode \(String(status.st_mode & 0o777, radix: 8))): run chmod 600 \(path)")
        }
        do { return try KeyFile(parsing: try bytes(of: descriptor, path)) } catch let error as KeyFileError {
            throw CommandFailure.configuration("\(path): \(error.description)")
        }
    }

    private static let advice = "make one with (umask 077; sessionmesh keygen > mesh.key) and say --key-file mesh.key"

    /// One byte more than a key file may have, so that a longer one is seen to be longer.
    private static func bytes(of descriptor: CInt, _ path: String) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: KeyFile.bytesMax + 1)
        var count = 0
        while count < bytes.count {
            let read = bytes.withUnsafeMutableBytes { Foundation.read(descriptor, $0.baseAddress?.advanced(by: count), $0.count - count) }
            if read < 0, errno == EINTR { continue }
            guard read >= 0 else {
                throw CommandFailure.configuration("the key file \(path) can't be read (\(String(cString: strerror(errno)))): \(advice)")
            }
            if read == 0 { break }
            count += read
        }
        return Array(bytes.prefix(count))
    }

    /// The key file of this user's mesh on loopback, made when it is missing. Two agents that start at once end up with one file.
    static func readOrMake(in directory: RunDirectory) throws -> (keys: KeyFile, isNew: Bool) {
        let path = directory.keyFile
        guard access(path, F_OK) != 0 else { return (try read(path), false) }
        let draft = "\(path).\(getpid())"
        try write(newText(), to: draft)
        defer { unlink(draft) }
        // A link appears whole or not at all, and never replaces what another agent made meanwhile.
        guard link(draft, path) == 0 || errno == EEXIST else {
            throw CommandFailure.configuration("\(path) can't be made (\(String(cString: strerror(errno)))): say --key-file")
        }
        return (try read(path), true)
    }

    static func newText() -> String {
        var random = SystemRandomNumberGenerator()
        return KeyFile.generate(using: &random).text
    }

    /// With mode 0600 from its first moment.
    static func write(_ text: String, to path: String) throws {
        unlink(path)
        let descriptor = Foundation.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandFailure.configuration("\(path) can't be made (\(String(cString: strerror(errno)))): say --key-file")
        }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard Foundation.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw CommandFailure.configuration("\(path) can't be written: is the disk full?")
        }
    }
}
