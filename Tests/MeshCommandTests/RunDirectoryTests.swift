import Foundation
import MeshCore
import Testing

@testable import MeshCommand

@Suite struct RunDirectoryTests {
    @Test func itIsThisUsersAlone() throws {
        let parent = try CommandDirectory()
        let directory = try RunDirectory.open(environment: ["XDG_RUNTIME_DIR": parent.path])
        var status = stat()
        #expect(stat(directory.path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
        #expect(try RunDirectory.open(environment: ["XDG_RUNTIME_DIR": parent.path]) == directory)
    }

    @Test func oneThatOthersMayEnterIsRefused() throws {
        let parent = try CommandDirectory()
        mkdir(parent.file("sessionmesh"), 0o700)
        chmod(parent.file("sessionmesh"), 0o755)
        #expect(throws: CommandFailure.self) { try RunDirectory.open(environment: ["XDG_RUNTIME_DIR": parent.path]) }
    }

    @Test func aLinkIsRefused() throws {
        let parent = try CommandDirectory()
        mkdir(parent.file("elsewhere"), 0o700)
        symlink(parent.file("elsewhere"), parent.file("sessionmesh"))
        #expect(throws: CommandFailure.self) { try RunDirectory.open(environment: ["XDG_RUNTIME_DIR": parent.path]) }
    }

    @Test func agentsThatStartAtOnceMakeOneKeyFile() async throws {
        let parent = try CommandDirectory()
        let directory = try RunDirectory.open(environment: ["XDG_RUNTIME_DIR": parent.path])
        let first = try KeyFiles.readOrMake(in: directory)
        let second = try KeyFiles.readOrMake(in: directory)
        #expect(first.isNew && !second.isNew)
        #expect(first.keys == second.keys)
        var status = stat()
        #expect(stat(directory.keyFile, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func aKeyFileThatOthersMayReadIsRefused() throws {
        let directory = try CommandDirectory()
        let path = try directory.write(KeyFiles.newText(), to: "key", mode: 0o640)
        let failure = #expect(throws: CommandFailure.self) { try KeyFiles.read(path) }
        #expect(failure?.code == 78)
        #expect(failure?.line.contains("chmod 600") == true)
        chmod(path, 0o400)
        #expect(throws: Never.self) { try KeyFiles.read(path) }
    }

    @Test func aKeyFileWithoutEndIsNotReadToItsEnd() throws {
        #expect(throws: CommandFailure.self) { try KeyFiles.read("/dev/zero") }
    }
}
